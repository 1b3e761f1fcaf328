"""Brokers without a server, for tests and examples: the mock cluster of librdkafka, driven through its C
functions.

confluent-kafka makes such a cluster when a client has the option `test.mock.num.brokers`, and has no
functions that make topics, take brokers down or inject errors. They are in the library that its wheels bring.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import threading
from pathlib import Path
from typing import Any, ClassVar, Final

from .client import confluent

_HANDLE: Final = ctypes.c_void_p
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "conf_new": (_HANDLE, ()),
    "conf_set": (
        ctypes.c_int,
        (_HANDLE, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t),
    ),
    "new": (_HANDLE, (ctypes.c_int, _HANDLE, ctypes.c_char_p, ctypes.c_size_t)),
    "destroy": (None, (_HANDLE,)),
    "mock_cluster_new": (_HANDLE, (_HANDLE, ctypes.c_int)),
    "mock_cluster_destroy": (None, (_HANDLE,)),
    "mock_cluster_bootstraps": (ctypes.c_char_p, (_HANDLE,)),
    "mock_topic_create": (ctypes.c_int, (_HANDLE, ctypes.c_char_p, ctypes.c_int, ctypes.c_int)),
    "mock_group_initial_rebalance_delay_ms": (None, (_HANDLE, ctypes.c_int32)),
    "mock_broker_set_down": (ctypes.c_int, (_HANDLE, ctypes.c_int32)),
    "mock_broker_set_up": (ctypes.c_int, (_HANDLE, ctypes.c_int32)),
    "mock_push_request_errors_array": (
        None,
        (_HANDLE, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)),
    ),
}
_TOPIC_EXISTS: Final = 36


class MockCluster:
    """Brokers on 127.0.0.1 that live in this program, keep messages in memory, and know groups.

    For tests and examples. Its rebalances wait for a second less than the members' `session.timeout.ms` when
    somebody joins, and it refuses commits meanwhile; brokers do neither.

        ```python
        from resprout.kafka import MockCluster

        with MockCluster() as cluster:
            cluster.topic("orders", partitions=4)
            config = {"bootstrap.servers": cluster.servers}
        ```

    Args:
        brokers: How many; they are numbered from 1.

    Attributes:
        servers: The addresses, as `bootstrap.servers` takes them.

    Raises:
        MissingExtra: confluent-kafka is not installed.
        RuntimeError: Its library is not found, as where it was built from source in a place of its own.
    """

    FETCH: ClassVar[int] = 1
    OFFSET_COMMIT: ClassVar[int] = 8
    JOIN_GROUP: ClassVar[int] = 11

    def __init__(self, brokers: int = 1) -> None:
        self._call = _library()
        error = ctypes.create_string_buffer(512)
        conf = self._call("conf_new")
        self._call("conf_set", conf, b"log_level", b"0", error, 512)
        self._client = self._call("new", 0, conf, error, 512)
        if not self._client:
            raise RuntimeError(f"librdkafka says: {error.value.decode()}")
        self._cluster = self._call("mock_cluster_new", self._client, brokers)
        self._gate = threading.Lock()
        # By default the first member of a group waits for others for three seconds.
        self._call("mock_group_initial_rebalance_delay_ms", self._cluster, 0)
        self.servers: str = self._call("mock_cluster_bootstraps", self._cluster).decode()

    def topic(self, name: str, partitions: int = 1) -> str:
        """Make a topic.

        Returns:
            Its name.

        Raises:
            ValueError: There is one of that name, or the number is wrong.
        """
        code = self._call("mock_topic_create", self._open(), name.encode(), partitions, 1)
        if code:
            why = "there is one already" if code == _TOPIC_EXISTS else f"error {code} of librdkafka"
            raise ValueError(f"topic {name!r} with {partitions} partitions was not made: {why}")
        return name

    def down(self, broker: int) -> None:
        """Cut the connections of a broker, and take no new ones."""
        self._call("mock_broker_set_down", self._open(), broker)

    def up(self, broker: int) -> None:
        """Take connections again."""
        self._call("mock_broker_set_up", self._open(), broker)

    def fail(self, request: int, *errors: int) -> None:
        """Answer the next requests of a kind with errors, one each.

        Args:
            request: Its number in Kafka's protocol, such as `MockCluster.FETCH`.
            errors: Numbers of errors, such as `KafkaError.NOT_COORDINATOR`.
        """
        array = (ctypes.c_int * len(errors))(*errors)
        self._call("mock_push_request_errors_array", self._open(), request, len(errors), array)

    def close(self) -> None:
        """End the brokers; what was written is gone. Once more, nothing happens."""
        with self._gate:
            cluster, self._cluster = self._cluster, None
        if cluster:
            self._call("mock_cluster_destroy", cluster)
            self._call("destroy", self._client)

    def __enter__(self) -> MockCluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> Any:
        if self._cluster is None:
            raise ValueError("expected a mock cluster that is open, this one is closed")
        return self._cluster


def _library() -> Any:
    """A function that calls one of librdkafka's."""
    library = ctypes.CDLL(_path())

    def call(name: str, *args: Any) -> Any:
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = _FUNCTIONS[name]
        return function(*args)

    return call


def _path() -> str:
    package = Path(str(confluent().__file__)).resolve().parent
    for folder in (package.parent / "confluent_kafka.libs", package / ".dylibs"):
        for found in sorted(folder.glob("*librdkafka*")):
            return str(found)
    installed = ctypes.util.find_library("rdkafka")
    if installed is None:
        raise RuntimeError(f"expected librdkafka beside {package}, as wheels of confluent-kafka have it")
    return installed
