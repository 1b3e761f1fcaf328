# A lock as ex_sleeplock writes it (a GenServer, a monitor per holder), uncontended: microseconds of acquire + release.
defmodule Lock do
  use GenServer
  def init(slots), do: {:ok, {slots, %{}}}

  def handle_call(:acquire, {pid, _}, {slots, held}) when map_size(held) < slots,
    do: {:reply, :ok, {slots, Map.put(held, pid, Process.monitor(pid))}}

  def handle_call(:release, {pid, _}, {slots, held}) do
    {ref, held} = Map.pop(held, pid)
    Process.demonitor(ref)
    {:reply, :ok, {slots, held}}
  end
end

{:ok, lock} = GenServer.start_link(Lock, 2)
times = 20_000

runs =
  for _ <- 1..15 do
    {us, _} =
      :timer.tc(fn ->
        for _ <- 1..times do
          GenServer.call(lock, :acquire)
          GenServer.call(lock, :release)
        end
      end)

    us / times
  end

IO.puts("acquire+release #{Enum.at(Enum.sort(runs), 7)}")
