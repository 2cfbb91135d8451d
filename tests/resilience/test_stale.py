import httpx

from smart_support.resilience.records import Answer
from smart_support.resilience.stale import StaleAnswers, key_of


def answer(body: bytes = b"1") -> Answer:
    return Answer(status=200, headers=httpx.Headers(), body=body)


def request(path: str = "/", method: str = "GET", **headers: str) -> httpx.Request:
    return httpx.Request(method, f"http://shop.test{path}", headers=headers)


def test_requests_are_the_same_by_what_may_change_the_answer() -> None:
    same = key_of(request(accept="a/b"))

    assert key_of(request(accept="a/b", traceparent="00-1", date="today")) == same
    assert key_of(request(accept="a/c")) != same
    assert key_of(request("/?page=2", accept="a/b")) != same
    assert key_of(request(method="HEAD", accept="a/b")) != same
    assert key_of(request(accept="a/b", authorization="Bearer x")) != same


def test_memory_is_bounded_and_the_longest_unused_goes_first() -> None:
    kept = StaleAnswers(10_000, 1_000)
    for number in range(100):
        kept.keep(request(f"/{number}"), answer(b"x" * 1_000), 0.0, 60.0)
        assert kept.bytes <= 10_000
        kept.instead(request("/0"), 1.0)

    assert kept.instead(request("/0"), 1.0)
    assert kept.instead(request("/99"), 1.0)
    assert kept.instead(request("/1"), 1.0) is None


def test_one_that_is_larger_than_all_room_is_not_kept() -> None:
    kept = StaleAnswers(10_000, 100)

    kept.keep(request(), answer(b"x" * 20_000), 0.0, 60.0)

    assert kept.instead(request(), 1.0) is None
    assert kept.bytes == 0


def test_a_new_answer_takes_the_place_of_the_old_one() -> None:
    kept = StaleAnswers(10_000, 1)
    kept.keep(request(), answer(b"old"), 0.0, 60.0)
    assert kept.instead(request(), 1.0)
    assert kept.instead(request(), 1.0) is None  # once in a row
    kept.keep(request(), answer(b"new"), 2.0, 60.0)

    found = kept.instead(request(), 3.0)

    assert found is not None
    assert (found.body, found.stale, found.age) == (b"new", True, 1.0)
