# The same operations on the BEAM, for benchmarks/actors.py: prints "name microseconds" lines, the best of fifteen runs.
defmodule Server do
  use GenServer
  def init(state), do: {:ok, state}
  def handle_call(message, _from, state), do: {:reply, message, state}
end

defmodule Bench do
  def best(times, fun) do
    runs =
      for _ <- 1..15 do
        {time, _} = :timer.tc(fn -> loop(times, fun) end)
        time / times
      end

    Enum.min(runs)
  end

  defp loop(0, _), do: :ok

  defp loop(n, fun) do
    fun.()
    loop(n - 1, fun)
  end
end

{:ok, server} = GenServer.start(Server, nil)
IO.puts("call #{Bench.best(20_000, fn -> GenServer.call(server, 1) end)}")

IO.puts(
  "start_stop #{Bench.best(5_000, fn ->
    {:ok, pid} = GenServer.start(Server, nil)
    GenServer.stop(pid)
  end)}"
)
