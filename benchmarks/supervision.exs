# The median of microseconds from a call that crashes a server under an OTP supervisor to the first answer of its
# successor, with the crash reports that OTP writes by default: elixir supervision.exs ROUNDS

defmodule Served do
  use GenServer

  def start_link(_), do: GenServer.start_link(__MODULE__, nil, name: Served)

  @impl true
  def init(state), do: {:ok, state}

  @impl true
  def handle_call(:crash, _from, _state), do: raise("crash")
  def handle_call(:ping, _from, state), do: {:reply, self(), state}
end

defmodule Bench do
  def round do
    began = System.monotonic_time(:nanosecond)

    try do
      GenServer.call(Served, :crash)
    catch
      :exit, _ -> :ok
    end

    await()
    (System.monotonic_time(:nanosecond) - began) / 1000
  end

  defp await do
    try do
      GenServer.call(Served, :ping)
    catch
      :exit, _ ->
        :erlang.yield()
        await()
    end
  end
end

[rounds] = System.argv()
{:ok, _} = Supervisor.start_link([Served], strategy: :one_for_one, max_restarts: 1_000_000_000)
times = for _ <- 1..String.to_integer(rounds), do: Bench.round()
times |> Enum.sort() |> Enum.at(div(length(times), 2)) |> IO.puts()
