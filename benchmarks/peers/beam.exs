# One operation on the BEAM, for benchmarks/peers/beam.py: elixir beam.exs OPERATION TIMES prints "took" and how long one
# takes, the median of seven runs in microseconds (of owner_death in milliseconds).
defmodule Server do
  use GenServer
  def init(state), do: {:ok, state}
  def handle_call(message, _from, state), do: {:reply, message, state}
end

# As ex_sleeplock writes it: a monitor for each holder.
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

# Under a supervisor, with the crash reports that OTP writes by default.
defmodule Served do
  use GenServer
  def start_link(_), do: GenServer.start_link(__MODULE__, nil, name: Served)
  def init(state), do: {:ok, state}
  def handle_call(:crash, _from, _state), do: raise("crash")
  def handle_call(:ping, _from, state), do: {:reply, self(), state}
end

defmodule Bench do
  def run("call", times) do
    {:ok, server} = GenServer.start(Server, nil)
    median(times, fn -> GenServer.call(server, 1) end)
  end

  def run("start_stop", times) do
    median(times, fn ->
      {:ok, pid} = GenServer.start(Server, nil)
      GenServer.stop(pid)
    end)
  end

  def run("lock", times) do
    {:ok, lock} = GenServer.start_link(Lock, 2)

    median(times, fn ->
      GenServer.call(lock, :acquire)
      GenServer.call(lock, :release)
    end)
  end

  def run("lookup", times) do
    {:ok, _} = Registry.start_link(keys: :unique, name: Keys)
    {:ok, _} = Registry.register(Keys, "key", 1)
    median(times, fn -> Registry.lookup(Keys, "key") end)
  end

  def run("register", times) do
    {:ok, _} = Registry.start_link(keys: :unique, name: Keys)

    median(times, fn ->
      Registry.register(Keys, "other", 1)
      Registry.unregister(Keys, "other")
    end)
  end

  def run("dispatch", subscribers) do
    {:ok, _} = Registry.start_link(keys: :duplicate, name: Topics)
    for n <- 1..subscribers, do: Registry.register(Topics, "topic", n)
    each = fn entries -> Enum.each(entries, fn {_, _} -> :ok end) end
    median(20, fn -> Registry.dispatch(Topics, "topic", each) end) / subscribers
  end

  def run("owner_death", keys) do
    {:ok, _} = Registry.start_link(keys: :unique, name: Keys)
    middle(for _ <- 1..7, do: owner_death(keys)) / 1000
  end

  def run("crash", rounds) do
    {:ok, _} = Supervisor.start_link([Served], strategy: :one_for_one, max_restarts: 1_000_000_000)
    middle(for _ <- 1..rounds, do: time(&crash/0))
  end

  defp owner_death(keys) do
    me = self()

    pid =
      spawn(fn ->
        for n <- 1..keys, do: Registry.register(Keys, n, 1)
        send(me, :ready)
        Process.sleep(:infinity)
      end)

    receive do
      :ready -> :ok
    end

    time(fn ->
      ref = Process.monitor(pid)
      Process.exit(pid, :kill)

      receive do
        {:DOWN, ^ref, _, _, _} -> :ok
      end

      gone(keys)
    end)
  end

  defp gone(key), do: if(Registry.lookup(Keys, key) == [], do: :ok, else: gone(key))

  defp crash do
    try do
      GenServer.call(Served, :crash)
    catch
      :exit, _ -> :ok
    end

    serves()
  end

  defp serves do
    try do
      GenServer.call(Served, :ping)
    catch
      :exit, _ ->
        :erlang.yield()
        serves()
    end
  end

  defp median(times, fun), do: middle(for _ <- 1..7, do: time(fn -> loop(times, fun) end) / times)

  defp time(fun) do
    began = System.monotonic_time(:nanosecond)
    fun.()
    (System.monotonic_time(:nanosecond) - began) / 1000
  end

  defp loop(0, _), do: :ok

  defp loop(n, fun) do
    fun.()
    loop(n - 1, fun)
  end

  defp middle(list), do: Enum.at(Enum.sort(list), div(length(list), 2))
end

[operation, times] = System.argv()
# By its word, since the log writes here, too.
IO.puts("took #{Bench.run(operation, String.to_integer(times))}")
