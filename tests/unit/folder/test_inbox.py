"""Nothing that was posted is lost: it only gets coarser."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from clipwatch.folder.inbox import PATHS_PER_DIRECTORY, Dirty, Inbox


def covers(dirty: Dirty, folder: str, path: bytes) -> bool:
    if folder in dirty.everywhere or path in dirty.paths.get(folder, ()):
        return True
    return any(not tree or path.startswith(tree + b"/") for tree in dirty.trees.get(folder, ()))


def covers_tree(dirty: Dirty, folder: str, directory: bytes) -> bool:
    return directory in dirty.trees.get(folder, ()) or covers(dirty, folder, directory)


def test_a_path_posted_many_times_is_drained_once() -> None:
    inbox = Inbox()
    for _ in range(500):
        inbox.post("images", b"a/b.jpg")
    assert inbox.drain() == Dirty({"images": (b"a/b.jpg",)}, {}, {})
    assert not inbox.drain()


def test_many_files_of_one_directory_become_its_tree() -> None:
    inbox = Inbox()
    for i in range(PATHS_PER_DIRECTORY + 1):
        inbox.post("images", b"a/%d.jpg" % i)
    inbox.post("images", b"ab.jpg")
    inbox.post("other", b"a/1.jpg")
    assert inbox.drain() == Dirty({"images": (b"ab.jpg",), "other": (b"a/1.jpg",)}, {"images": (b"a",)}, {})


def test_too_many_places_become_the_whole_folder_and_no_other() -> None:
    inbox = Inbox(limit=50)
    for i in range(51):
        inbox.post("images", b"%d/a.jpg" % i)
    inbox.post("images", b"late.jpg")
    inbox.post_tree("images", b"late")
    inbox.post("other", b"a.jpg")
    assert inbox.drain() == Dirty({"other": (b"a.jpg",)}, {}, {"images": "overflow"})
    inbox.post("images", b"a.jpg")
    assert inbox.drain() == Dirty({"images": (b"a.jpg",)}, {}, {})


def test_places_below_a_tree_are_left_out() -> None:
    inbox = Inbox()
    inbox.post("images", b"a/b/c.jpg")
    inbox.post("images", b"a.jpg")
    inbox.post_tree("images", b"a/b")
    inbox.post_tree("images", b"a")
    inbox.post_tree("images", b"ab")
    assert inbox.drain() == Dirty({"images": (b"a.jpg",)}, {"images": (b"a", b"ab")}, {})
    inbox.post_tree("images", b"a")
    inbox.post_tree("images", b"")
    assert inbox.drain() == Dirty({}, {"images": (b"",)}, {})


def test_the_first_reason_to_look_everywhere_is_kept() -> None:
    inbox = Inbox()
    inbox.look_everywhere("images", "overflow")
    inbox.look_everywhere("images", "poll")
    assert inbox.drain().everywhere == {"images": "overflow"}


def test_every_post_wakes_and_draining_clears() -> None:
    inbox = Inbox()
    posts: list[Callable[[], None]] = [
        lambda: inbox.post("images", b"a.jpg"),
        lambda: inbox.post_tree("images", b"a"),
        lambda: inbox.look_everywhere("images", "poll"),
    ]
    for post in posts:
        assert not inbox.wake.is_set()
        post()
        assert inbox.wake.is_set()
        inbox.drain()


def test_nothing_is_lost_between_threads() -> None:
    inbox = Inbox(limit=100)
    drained: list[Dirty] = []
    done = threading.Event()
    posted = [b"%d/%d.jpg" % (i % 7, i) for i in range(5_000)]

    def post(paths: list[bytes]) -> None:
        for path in paths:
            inbox.post("images", path)

    def drain() -> None:
        while not done.is_set():
            if inbox.wake.wait(0.01):
                drained.append(inbox.drain())

    owner = threading.Thread(target=drain)
    posters = [threading.Thread(target=post, args=(posted[i::4],)) for i in range(4)]
    owner.start()
    for poster in posters:
        poster.start()
    for poster in posters:
        poster.join()
    done.set()
    owner.join()
    drained.append(inbox.drain())
    assert all(any(covers(dirty, "images", path) for dirty in drained) for path in posted[::10])


names = st.sampled_from([b"a", b"b", b"ab", b"c.jpg"])
places = st.lists(names, min_size=1, max_size=3).map(b"/".join)
posts = st.one_of(
    st.tuples(st.just("post"), st.sampled_from(["one", "two"]), places),
    st.tuples(st.just("tree"), st.sampled_from(["one", "two"]), st.one_of(st.just(b""), places)),
    st.tuples(st.just("everywhere"), st.just("one"), st.just(b"why")),
    st.tuples(st.just("drain"), st.just(""), st.just(b"")),
)


@given(st.lists(posts, max_size=60), st.integers(1, 12))
def test_what_is_drained_covers_all_that_was_posted_and_stays_within_the_limit(
    steps: list[tuple[str, str, bytes]], limit: int
) -> None:
    inbox, waiting = Inbox(limit), list[tuple[str, str, bytes]]()
    for kind, folder, place in [*steps, ("drain", "", b"")]:
        if kind == "post":
            inbox.post(folder, place)
        elif kind == "tree":
            inbox.post_tree(folder, place)
        elif kind == "everywhere":
            inbox.look_everywhere(folder, place.decode())
        if kind != "drain":
            waiting.append((kind, folder, place))
            continue
        dirty = inbox.drain()
        for how, name, posted in waiting:
            assert how != "post" or covers(dirty, name, posted)
            assert how != "tree" or covers_tree(dirty, name, posted)
            assert how != "everywhere" or name in dirty.everywhere
        folders = {name for _, name, _ in waiting}
        assert set(dirty.paths) | set(dirty.trees) | set(dirty.everywhere) == folders
        assert not set(dirty.everywhere) & (set(dirty.paths) | set(dirty.trees))
        for name in folders:
            assert len(dirty.paths.get(name, ())) + len(dirty.trees.get(name, ())) <= limit
        waiting.clear()
