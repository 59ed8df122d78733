"""The settings: one frozen dataclass a table, each key with its default, its bounds and its words.

`config_file.load` fills them in; everything else is told the values and never where they came from.
`config_example` spells them for people.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

SERVER_PORTS: Final = {"http": 6333, "https": 443, "grpc": 6334, "grpcs": 6334}
"""By scheme, where `store.url` names no port: Qdrant's own; for https the usual one, since a proxy mostly ends TLS."""

SECRET_KEYS: Final = frozenset({("store", "api_key"), ("http", "token")})

EXTENSIONS: Final = (
    *("jpg", "jpeg", "jpe", "jif", "jfif", "jfi", "pjpeg", "pjp", "mpo", "png", "apng"),
    *("webp", "heic", "heif", "hif", "avif", "gif", "tif", "tiff", "bmp", "jxl"),
)
"""All usual names of pictures. Phones write JPEG files named .heic, and browsers save them as .webp."""

IGNORE: Final = (
    *(".*", "*.part", "*.tmp", "*~"),
    *("@eaDir", "#recycle", "#snapshot"),  # Synology
    *("@Recycle", "@Recently-Snapshot", ".@__thumb"),  # QNAP
    *("$RECYCLE.BIN", "System Volume Information"),  # Windows
    "lost+found",  # fsck
)
"""Hidden and half written files, and the folders of thumbnails and deleted files of file servers and systems."""


def _key(
    default: Any,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    low: float = -math.inf,
    high: float = math.inf,
    path: bool = False,
) -> Any:
    metadata = {"doc": doc, "choices": choices, "low": low, "high": high, "path": path}
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """One watched folder."""

    path: str = _key("images", "The folder. Several [[watch]] tables: several folders in one collection.", path=True)
    name: str = _key(
        "images",
        "The folder's identity: ids depend on it, not on where it is mounted. Must be given on a server store.",
    )
    owner: str = _key(
        "",
        "Who owns the name in the collection; empty: this machine and path. One word on all machines that mirror the "
        "very same share.",
    )
    recursive: bool = _key(True, "Look into sub-folders.")
    extensions: tuple[str, ...] = _key(
        EXTENSIONS,
        "Names of files that are opened; jpg, .jpg, *.jpg and JPG mean the same. What is in the file decides what it "
        "is, not its name.",
    )
    ignore: tuple[str, ...] = _key(
        IGNORE,
        "What is passed over, with the meaning that each pattern has in a .gitignore at the top of the folder: /, ** "
        "and ! included. A # is part of the name.",
    )
    follow_symlinks: bool = _key(False, "Follow symbolic links, each real folder once.")
    marker: str = _key("", "A file that must exist below path, or the folder counts as absent.")
    settle_seconds: float = _key(
        0.5, "A file is read when its size, mtime and ctime stood still for this long.", low=0, high=3600
    )
    rescan_minutes: float = _key(60.0, "A full look this often; 0: only when events were lost.", low=0, high=525600)
    backend: str = _key(
        "auto",
        "auto | watchdog | watchfiles (an extra) | polling",
        choices=("auto", "watchdog", "watchfiles", "polling"),
    )
    max_images: int = _key(0, "0: no limit; else the first so many by path.", low=0, high=1_000_000_000)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The vision model, resident for the life of the daemon."""

    path: str = _key(
        "models/clip_vision.onnx",
        "An ONNX file, or a folder in Hugging Face layout. Absent: the demonstration model is used, and said.",
        path=True,
    )
    pooling: str = _key("auto", "auto | mean | none", choices=("auto", "mean", "none"))
    resize: str = _key(
        "auto",
        "auto | crop | squash      (crop: short side, then centre; squash: straight to the model's size)",
        choices=("auto", "crop", "squash"),
    )
    normalize: str = _key(
        "auto",
        "auto | clip | symmetric   (symmetric: [-1, 1]); auto reads preprocessor_config.json beside the model",
        choices=("auto", "clip", "symmetric"),
    )
    engine: str = _key("auto", "auto | onnxruntime | openvino (an extra)", choices=("auto", "onnxruntime", "openvino"))
    device: str = _key("auto", "auto | cpu | cuda | ...")
    threads: int = _key(0, "0: as many as this process may use.", low=0, high=1024)
    prompt: str = _key("auto", 'auto | words around a search text: "a photo of {}"; auto: as the model itself says.')


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """From bytes to pixels."""

    exact_decode: bool = _key(False, "true: no DCT-scaled decoding of JPEGs.")
    background: str = _key(
        "auto",
        "What shows through transparency: a colour name or #rrggbb; another one than white embeds all anew. "
        "auto: white, but mid-grey behind what would vanish on white.",
    )


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the points live."""

    url: str = _key(
        "embedded:data/store",
        "embedded:DIRECTORY, http(s)://host:port or grpc(s)://host:port; no port: http 6333, https 443, grpc(s) 6334.",
        path=True,
    )
    embedded_listen: str = _key(
        "",
        '"127.0.0.1:6333": under `run` the embedded engine answers your own QdrantClient too (the part of the REST API '
        "it has); needs api_key.",
    )
    collection: str = _key(
        "image_embeddings",
        "Created if missing. One of another width is replaced only if all in it is ours, once the new one is complete; "
        "any other shape is refused.",
    )
    api_key: str = _key("", "Or api_key_file, or a systemd credential named api_key.")
    api_key_file: str = _key("", "A file whose first line is the key.", path=True)
    timeout_seconds: float = _key(30.0, "For one request.", low=1, high=3600)
    tls_ca_file: str = _key("", "A certificate authority of your own for https and grpcs.", path=True)
    on_disk: bool = _key(False, "Server, when the collection is created: vectors on disk.")
    quantization: str = _key(
        "none",
        "none | scalar | binary     Server, when the collection is created.",
        choices=("none", "scalar", "binary"),
    )
    shard_number: int = _key(0, "Server, when the collection is created; 0: its default.", low=0, high=1024)
    replication_factor: int = _key(0, "Server, when the collection is created; 0: its default.", low=0, high=64)


@dataclass(frozen=True, slots=True)
class StateConfig:
    """What may be lost."""

    path: str = _key(
        "data/state", "Locks, control socket, and a notebook that may be lost: rejections, suspects, holds.", path=True
    )


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How images travel together."""

    size: int = _key(25, "Images in one inference and one write.", low=1, high=1000)
    max_wait_seconds: float = _key(
        1.0, "For a batch to fill while files keep coming; an idle encoder does not wait.", low=0, high=3600
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What one file, and one mistake, may cost."""

    file_megabytes: float = _key(256, "A larger file is rejected unread.", low=0.001, high=4096)
    image_megapixels: float = _key(100, "After scaled decoding.", low=0.001, high=10000)
    decode_seconds: float = _key(20, "For one image.", low=0.1, high=3600)
    decode_memory_megabytes: float = _key(1024, "For one decode worker.", low=128, high=65536)
    delete_fraction: float = _key(
        0.5,
        "A folder whose deletes within the hold time pass this share and 50 points is held; so is one that is "
        "empty or shares no file with its points, however few, unless the kernel reported each delete.",
        low=0,
        high=1,
    )
    delete_hold_minutes: float = _key(
        60, "Held deletes wait until a scan this much later agrees, or `confirm`.", low=0, high=525600
    )

    @property
    def file_bytes(self) -> int:
        """`file_megabytes` in bytes."""
        return int(self.file_megabytes * 1_000_000)


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """For people; commands use the control socket."""

    listen: str = _key("127.0.0.1:8766", '"" turns it off.')
    token: str = _key(
        "",
        'Needed for an address that is not loopback; "none" there: whoever reaches it may search and look.',
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The log of `run`: one JSON object a line, on stderr. Other commands log warnings, or as --log-level asks."""

    format: str = _key("json", "json | console", choices=("json", "console"))
    level: str = _key("info", "debug | info | warning | error", choices=("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, checked."""

    watch: tuple[WatchConfig, ...] = (WatchConfig(),)
    model: ModelConfig = ModelConfig()
    image: ImageConfig = ImageConfig()
    store: StoreConfig = StoreConfig()
    state: StateConfig = StateConfig()
    batch: BatchConfig = BatchConfig()
    limits: LimitsConfig = LimitsConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()


SECTIONS: Final[dict[str, type]] = {
    "watch": WatchConfig,
    "model": ModelConfig,
    "image": ImageConfig,
    "store": StoreConfig,
    "state": StateConfig,
    "batch": BatchConfig,
    "limits": LimitsConfig,
    "http": HttpConfig,
    "log": LogConfig,
}


def is_loopback(listen: str) -> bool:
    """Whether `host:port` can be reached from this machine only."""
    host = listen.rpartition(":")[0].strip("[]").lower()
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_address(url: str) -> str:
    """The address of a server as it is dialled, with its port: no user, password, query or trailing slash."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or SERVER_PORTS.get(parts.scheme)}{parts.path.rstrip('/')}"


def is_server(url: str) -> bool:
    """Whether the store is a Qdrant server rather than the embedded engine."""
    return not url.startswith("embedded:")


def normal_extension(text: str) -> str:
    """`jpg` for `jpg`, `JPG`, `.jpg` and `*.jpg`."""
    return text.removeprefix("*").lstrip(".").lower()
