"""Commands in an environment that programs of all kinds have left their variables in."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator

import pytest

from support.commands import COMMAND, Home
from support.proxy_stand_in import ProxyStandIn
from support.stores import API_KEY, drop_collection, fresh_collection, shared_engine

ODD = (
    {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"},
    {"all_proxy": "socks5://127.0.0.1:1", "no_proxy": "localhost,127.0.0.1"},
    {"http_proxy": "http://127.0.0.1:1", "no_proxy": "[::1]"},
    {"http_proxy": "http://127.0.0.1:1", "NO_PROXY": "fe80::/10"},
    {"HTTP_PROXY": "nonsense", "HTTPS_PROXY": "http://[", "no_proxy": "::,[,/"},
    {"SSL_CERT_FILE": "/nowhere.pem", "REQUESTS_CA_BUNDLE": "/nowhere.pem", "SSL_CERT_DIR": "/nowhere"},
)
COMMANDS = (
    ("sync",),
    ("verify",),
    ("search", "cat"),
    ("status",),
    ("check",),
    ("export",),
    ("confirm",),
    ("forget", "nobody"),
    ("migrate", "--to", "http://127.0.0.1:1"),
    ("model", "fetch", "clip-vit-base-patch32"),
)


@pytest.fixture
def on_a_server(home: Home) -> Iterator[Home]:
    """Pictures, and a store on this machine that is spoken to over TCP; a hub that refuses."""
    collection = fresh_collection()
    home.add_samples("cat.jpg", "moon.png")
    home.environment |= {
        "CLIPWATCH_STORE__URL": f"http://{shared_engine().listen_address}",
        "CLIPWATCH_STORE__API_KEY": API_KEY,
        "CLIPWATCH_STORE__COLLECTION": collection,
        "CLIPWATCH_WATCH__NAME": "images",
        "HF_ENDPOINT": "http://127.0.0.1:1",
    }
    yield home
    drop_collection(shared_engine().socket_path, collection)


@pytest.mark.slow
@pytest.mark.parametrize("odd", range(len(ODD)))
def test_a_store_on_this_machine_is_mirrored_to_whatever_is_set(on_a_server: Home, odd: int) -> None:
    on_a_server.environment |= ODD[odd]
    on_a_server.run("sync")
    on_a_server.run("verify")
    assert on_a_server.json("status")["points"] == 2


@pytest.mark.slow
def test_each_command_says_in_one_sentence_what_is_wrong_with_a_proxy(on_a_server: Home) -> None:
    """Each with each would take minutes: every command once, with the values by turns. `Home.run` sees tracebacks."""
    on_a_server.environment |= {"CLIPWATCH_STORE__URL": "http://store.invalid", "CLIPWATCH_STORE__TIMEOUT_SECONDS": "1"}
    before = dict(on_a_server.environment)
    for command, odd in zip(COMMANDS, itertools.cycle(ODD), strict=False):
        on_a_server.environment = {**before, **odd}
        done = on_a_server.run(*command, expect=None)
        assert done.returncode in ((0, 1) if command == ("check",) else (1, 2, 3)), (command, done.stderr)


def test_the_proxy_that_a_store_is_behind_is_named(on_a_server: Home) -> None:
    on_a_server.environment |= {"CLIPWATCH_STORE__URL": "http://store.invalid", "CLIPWATCH_STORE__TIMEOUT_SECONDS": "1"}
    with ProxyStandIn() as proxy:
        on_a_server.environment["http_proxy"] = proxy.url
        failed = on_a_server.run("export", expect=3)
    assert f"http://store.invalid:6333 (through the proxy {proxy.url} (from http_proxy))" in failed.stderr
    assert proxy.asked


def test_home_is_meant_on_the_command_line_and_in_an_embedded_address(home: Home) -> None:
    person = home.path / "person"
    person.mkdir()
    home.environment |= {"HOME": str(person), "CLIPWATCH_STORE__URL": "embedded:~/store"}
    home.add_samples("cat.jpg")
    home.run("config", "init", "~/c.toml")
    home.run("--config=~/c.toml", "sync")
    home.run("migrate", "--to=embedded:~/other")
    assert {"store", "other", "c.toml"} <= {path.name for path in person.iterdir()}
    assert not [path for path in home.path.rglob("*") if "~" in path.name]


@pytest.mark.parametrize(
    "command", [("status",), ("config", "show"), ("service", "install", "--user", "--dry-run")], ids=" ".join
)
def test_a_directory_that_was_deleted_is_one_sentence(home: Home, command: tuple[str, ...]) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", COMMAND, *command],
        cwd=home.path, env=home.full_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "current directory" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_one_folder_twice_by_a_bind_mount_is_told_as_such(home: Home) -> None:
    for name in ("images", "again"):
        (home.path / name).mkdir()
    (home.path / "config.toml").write_text(
        '[[watch]]\npath = "images"\nname = "a"\n[[watch]]\npath = "again"\nname = "b"\n'
    )
    script = 'mount --bind images again && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", COMMAND, "config", "show"],
        cwd=home.path, env=home.full_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "watch[0].path and watch[1].path are the same folder" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="giving up root's rights needs root")
def test_a_directory_that_may_not_be_entered_is_one_sentence(home: Home) -> None:
    (home.path / "closed").mkdir(mode=0o700)
    script = 'cd closed && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", COMMAND, "status"],
        cwd=home.path, env=home.full_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "current directory" in done.stderr


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a locale in ISO-8859-1; where none can be made, of one in ASCII."""
    directory = tmp_path_factory.mktemp("locale")
    name = "de_DE.ISO-8859-1"
    try:
        subprocess.run(
            ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", directory / name], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    return {"LC_ALL": name, "LOCPATH": str(directory)}


def _in_bytes(home: Home, *arguments: str | bytes, expect: int = 0) -> bytes:
    done = subprocess.run(
        [COMMAND, *arguments], cwd=home.path, env=home.full_environment(), capture_output=True, check=False
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (expect, False), done.stderr.decode("utf-8", "replace")
    return done.stdout


def test_folders_named_in_utf_8_are_mirrored_in_a_locale_of_another_character_set(
    home: Home, latin_1: dict[str, str]
) -> None:
    home.add_samples("cat.jpg", "astronaut.jpg")
    home.environment |= latin_1
    for name, picture in (("b\u00fccher", "cat.jpg"), ("\u65e5\u672c", "astronaut.jpg")):
        (home.path / name).mkdir()
        (home.images / picture).rename(home.path / name / picture)
    (home.path / "config.toml").write_text(
        '[[watch]]\npath = "b\u00fccher"\nname = "one"\n[[watch]]\npath = "\u65e5\u672c"\nname = "two"\n',
        encoding="utf-8",
    )
    _in_bytes(home, "sync")
    _in_bytes(home, "verify")
    assert b"\\u65e5\\u672c" in _in_bytes(home, "status")
    paths = set(_in_bytes(home, "search", "-0", "cat").split(b"\0")[:-1])
    assert paths == {
        os.fsencode(home.path) + b"/" + below.encode()
        for below in ("b\u00fccher/cat.jpg", "\u65e5\u672c/astronaut.jpg")
    }


def test_words_are_understood_in_the_character_set_of_the_locale(home: Home, latin_1: dict[str, str]) -> None:
    if "LOCPATH" not in latin_1:
        pytest.skip("no locale in ISO-8859-1 can be made")
    home.add_samples("cat.jpg")
    home.images.rename(home.path / "b\u00fccher")
    (home.path / "config.toml").write_text('[[watch]]\npath = "b\u00fccher"\nname = "b\u00fccher"\n', encoding="utf-8")
    home.environment |= latin_1
    _in_bytes(home, "sync")
    found = _in_bytes(home, "search", "-f", "--filter", b"folder=b\xfccher", b"k\xe4tzchen")
    assert found.endswith("b\u00fccher/cat.jpg\n".encode())
    assert b"b\xfccher" in _in_bytes(home, "status")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("locale", ["usual", "other"])
def test_closed_streams_harm_nothing(home: Home, latin_1: dict[str, str], closed: str, locale: str) -> None:
    home.environment |= latin_1 if locale == "other" else {}
    home.images.mkdir()
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" config init {closed}', COMMAND],
        cwd=home.path, env=home.full_environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"# " in (home.path / "config.toml").read_bytes()


@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-16", "cp500"])
def test_any_encoding_of_the_streams_will_do(home: Home, encoding: str) -> None:
    home.add_samples("cat.jpg")
    home.images.rename(home.path / "b\u00fccher")
    (home.path / "config.toml").write_text('[[watch]]\npath = "b\u00fccher"\n', encoding="utf-8")
    home.environment["PYTHONIOENCODING"] = encoding
    said = _in_bytes(home, "sync").decode(encoding.partition(":")[0])
    assert said.startswith("1 images: 1 embedded")
    _in_bytes(home, "status")
