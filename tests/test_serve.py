"""`limner serve`: the API, its limits, and what happens when too many come at once."""

import io
import json
import signal
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from limner import LimnerError
from limner.batch import options as batch
from limner.batch.options import Format, Options
from limner.cli import main
from limner.gallery import bundled
from limner.serve import asked
from limner.serve.asked import Asked
from limner.serve.problems import Problem
from limner.serve.run import run
from limner.serve.settings import Settings, check

from . import serving
from .conftest import make_photo

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "examples" / "photos" / "chelsea.jpg"


@pytest.fixture(scope="module")
def served() -> Iterator[serving.Process]:
    with serving.process() as found:
        yield found


@pytest.fixture
def client(served: serving.Process) -> Iterator[httpx.Client]:
    with served.client() as found:
        yield found


def applied(tmp_path: Path, photo: Path, *flags: str) -> Path:
    """What `limner apply` makes of a photograph."""
    with pytest.raises(SystemExit) as ended:
        main.main(["apply", str(photo), "-o", str(tmp_path / "applied"), *flags])
    assert ended.value.code == 0
    return next(path for path in (tmp_path / "applied").iterdir() if path.suffix != ".jsonl")


def picture(width: int = 40, height: int = 30, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(make_photo(width, height)).save(buffer, format)
    return buffer.getvalue()


def name_of(answer: httpx.Response) -> str:
    return unquote(answer.headers["content-disposition"].split("filename*=UTF-8''")[1])


# --------------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, ()),
        (
            {"style": "starry-night", "strength": "0.6", "keep_colors": "true"},
            ("-s", "starry-night", "--strength", "0.6", "--keep-colors"),
        ),
        (
            {"style": "ink", "max_size": "200", "format": "webp", "quality": "80", "strip": "true", "working_size": "100"},
            ("-s", "ink", "--max-size", "200", "--format", "webp", "--quality", "80", "--strip", "--working-size", "100"),
        ),
        ({"style": "comic", "tier": "live", "working_size": "full"}, ("-s", "comic", "--tier", "live", "--working-size", "full")),
        ({"style": "the-scream", "stroke_size": "1.5"}, ("-s", "the-scream", "--stroke-size", "1.5")),
    ],
)
def test_a_picture_has_the_bytes_and_the_name_that_apply_gives_it(
    client: httpx.Client, tmp_path: Path, options: dict[str, str], flags: tuple[str, ...]
) -> None:
    wanted = applied(tmp_path, PHOTO, *flags)
    answer = client.post("/v1/stylize", files={"image": (PHOTO.name, PHOTO.read_bytes())}, data=options)
    assert answer.status_code == 200, answer.text
    assert answer.content == wanted.read_bytes()
    assert name_of(answer) == wanted.name
    in_address = client.post("/v1/stylize", params=options, content=PHOTO.read_bytes(), headers={"content-type": "image/jpeg"})
    assert in_address.content == wanted.read_bytes()
    assert name_of(in_address).startswith("painting.")
    assert answer.headers["limner-size"] == "{}x{}".format(*Image.open(io.BytesIO(answer.content)).size)


def test_no_strength_at_all_is_the_photograph_itself(client: httpx.Client) -> None:
    answer = client.post("/v1/stylize", files={"image": ("a.jpg", PHOTO.read_bytes())}, data={"strength": "0"})
    assert answer.content == PHOTO.read_bytes()


def test_what_is_lost_is_said(client: httpx.Client) -> None:
    buffer = io.BytesIO()
    frames = [Image.fromarray(make_photo(40, 30, seed)) for seed in range(3)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    answer = client.post("/v1/stylize", content=buffer.getvalue())
    assert unquote(answer.headers["limner-lost"]) == "all but the first of its 3 frames"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("../../etc/pass\x07wd.jpg", "passwd.storybook.jpg"),
        ("C:\\pictures\\Łódź.jpg", "Łódź.storybook.jpg"),
        ("..", "painting.storybook.png"),
        ("no-suffix", "no-suffix.storybook.png"),
    ],
)
def test_a_name_is_a_name_and_no_path(given: str, wanted: str) -> None:
    from limner.serve.studio import Photo, Studio

    studio = Studio()
    painting = studio.paint(Photo(picture(), given), Options(style="storybook"))
    assert painting.name == wanted
    studio.close()


def test_own_style_files_paint_as_they_do_with_apply(client: httpx.Client, tmp_path: Path, style_file: Path) -> None:
    wanted = applied(tmp_path, PHOTO, "-s", str(style_file))
    for _ in range(2):
        answer = client.post("/v1/stylize", files={"image": (PHOTO.name, PHOTO.read_bytes()), "style_file": style_file.read_bytes()})
        assert answer.content == wanted.read_bytes()
        assert name_of(answer) == "chelsea.tiny.jpg"
    assert client.post("/v1/card", content=style_file.read_bytes()).json()["title"] == "Tiny"


def test_own_style_files_that_are_none_are_refused(client: httpx.Client, style_file: Path) -> None:
    whole = style_file.read_bytes()
    for data in (b"", b"\x80\x04cos\nsystem\n", whole[: len(whole) // 2], PHOTO.read_bytes()):
        answer = client.post("/v1/card", content=data)
        assert answer.status_code == 422, answer.text
        assert "/" not in answer.json()["detail"].split("(")[0]  # no path of the server's
        files = {"image": ("a.png", picture()), "style_file": ("a.onnx", data)}
        assert client.post("/v1/stylize", files=files).status_code == 422


# ------------------------------------------------------------------------------------------------------ what is told


def test_styles_and_their_cards(client: httpx.Client) -> None:
    styles = client.get("/v1/styles").json()
    assert [style["name"] for style in styles] == bundled.names()
    assert [style["name"] for style in styles if style["default"]] == [bundled.default()]
    for style in styles:
        assert style["tiers"] == bundled.tiers(style["name"])
        card = client.get(f"/v1/styles/{style['name']}").json()
        assert card["weights_sha256"] and card["trained_on"]
        small = Image.open(io.BytesIO(client.get(f"/v1/styles/{style['name']}/thumbnail").content))
        assert max(small.size) == 320
    assert client.get("/v1/styles/nothing").status_code == 404


def test_options_are_those_of_apply(client: httpx.Client) -> None:
    schema = client.get("/v1/options").json()["properties"]
    assert set(schema) == {each.name for each in fields(Options)} - set(asked.NOT_OFFERED)
    for each in fields(Options):
        if each.name in schema:
            assert schema[each.name]["default"] == each.default
            assert schema[each.name]["description"]
    assert schema["format"]["anyOf"][0]["enum"] == list(get_args(Format))
    assert schema["style"]["enum"] == ["", *bundled.names()]


@pytest.mark.parametrize("name", list(asked.BOUNDS))
def test_bounds_are_those_of_apply(name: str) -> None:
    bounds = asked.BOUNDS[name]
    batch.check(asked.read({name: str(bounds["ge"])}))
    below = bounds["ge"] - 1
    with pytest.raises(Problem):
        asked.read({name: str(below)})
    with pytest.raises(LimnerError):
        batch.check(Options(**{name: below}))
    with pytest.raises(Problem):
        asked.read({name: str(bounds["le"] + 1)})


def test_the_description_is_whole(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) >= {
        *("/v1/stylize", "/v1/styles", "/v1/styles/{name}", "/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/events"),
        *("/v1/jobs/{id}/result", "/healthz", "/readyz", "/metrics"),
    }
    form = described["paths"]["/v1/stylize"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert set(Asked.model_fields) < set(form["schema"]["properties"])
    assert form["example"]
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
    assert client.get("/docs").status_code == 404  # its page would fetch scripts from elsewhere


def test_numbers_for_prometheus(client: httpx.Client) -> None:
    client.post("/v1/stylize", content=picture(), params={"style": "comic"})
    text = client.get("/metrics").text
    assert 'limner_painting_seconds_count{style="comic"}' in text
    assert 'limner_requests_total{operation="stylize",status="200"}' in text
    assert "limner_line_waiting 0.0" in text


def test_health(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


# ------------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("request_", "status", "sentence"),
    [
        ({"content": b"not a picture"}, 415, "is not a picture"),
        ({"content": b""}, 422, "empty (0 bytes)"),
        ({"content": PHOTO.read_bytes()[:9000]}, 422, "damaged or cut short"),
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, 415, "application/json"),
        ({"content": picture(), "params": {"strength": "2"}}, 422, "strength: "),
        ({"content": picture(), "params": {"strength": "nan"}}, 422, "strength: "),
        ({"content": picture(), "params": {"style": "/etc/passwd"}}, 422, "style: "),
        ({"content": picture(), "params": {"runtime": "torch"}}, 422, "runtime: "),
        ({"files": {"image": ("a.png", picture()), "other": b"x"}}, 422, "other: "),
        ({"files": {"picture": ("a.png", picture())}}, 422, "picture: "),
        ({"files": [("image", ("a.png", picture())), ("image", ("b.png", picture()))]}, 422, "one picture"),
        ({"files": {"style_file": b"x"}, "data": {"image": "/etc/passwd"}}, 422, "opens no paths"),
        ({"files": {"style_file": b"x"}, "data": {"image": "http://127.0.0.1/x.jpg"}}, 422, "opens no paths"),
        ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 422, "one picture"),
        ({"content": b"nonsense", "headers": {"content-type": "multipart/form-data"}}, 400, "form"),
        ({"content": picture(1, 1)}, 200, ""),
    ],
)
def test_refusals_have_a_status_and_the_librarys_sentence(
    client: httpx.Client, request_: dict[str, Any], status: int, sentence: str
) -> None:
    answer = client.post("/v1/stylize", **request_)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert told["status"] == status
        assert sentence in told["detail"]


def test_a_tier_that_a_style_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "tiers", lambda _: ["standard"])
    with serving.thread() as served, served.client() as client:
        answer = client.post("/v1/stylize", content=picture(), params={"style": "ink", "tier": "live"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "The style ink has no live tier: there is standard.")


def test_too_many_pixels_and_too_many_bytes_are_413() -> None:
    with serving.thread(max_pixels=1000, max_upload=20_000) as served, served.client() as client:
        answer = client.post("/v1/stylize", content=picture(40, 30))
        assert (answer.status_code, "40 x 30 pixels, more than the limit of 1,000" in answer.json()["detail"]) == (413, True)
        assert client.post("/v1/stylize", content=b"x" * 20_001).status_code == 413
        in_parts = iter([b"x" * 15_000, b"x" * 15_000])
        assert client.post("/v1/stylize", content=in_parts).status_code == 413  # without a length
        assert client.post("/v1/stylize", content=picture(20, 30)).status_code == 200


def test_other_sites_pages_and_other_names_are_kept_out(client: httpx.Client) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"host": "evil.example"}, {"sec-fetch-site": "same-site"}):
        answer = client.post("/v1/stylize", content=picture(), headers=headers)
        assert answer.status_code == 403
    answer = client.options("/v1/stylize", headers={"origin": "http://evil.example", "access-control-request-method": "POST"})
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert "default-src 'none'" in client.get("/").headers["content-security-policy"]


def test_a_key_is_asked_for() -> None:
    with serving.thread(api_key="open sesame") as served, served.client() as client:
        for path in ("/v1/styles", "/v1/options", "/metrics"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"authorization": "Bearer open sesam"}).status_code == 401
            assert client.get(path, headers={"authorization": "Bearer open sesame"}).status_code == 200
        assert client.post("/v1/stylize", content=picture()).headers["www-authenticate"] == "Bearer"
        for path in ("/", "/healthz", "/page.js"):
            assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (Settings(host="0.0.0.0"), "`no_auth`"),
        (Settings(host="192.168.1.7"), "`api_key`"),
        (Settings(host="::"), "`api_key`"),
        (Settings(port=70_000), "port of 70000"),
        (Settings(workers=0), "`workers`"),
        (Settings(max_pixels=10**10), "`max_pixels`"),
    ],
)
def test_settings_that_cannot_be(settings: Settings, sentence: str) -> None:
    with pytest.raises(LimnerError, match=sentence):
        check(settings)


def test_settings_that_can_be() -> None:
    for settings in (Settings(host="0.0.0.0", no_auth=True), Settings(host="::", api_key="k"), Settings(host="::1"), Settings(queue=0)):
        check(settings)


def test_a_port_that_is_taken_has_its_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(LimnerError, match="give another `host` or `port`"):
        run(Settings(port=taken.getsockname()[1]), print)


# ------------------------------------------------------------------------------------------------------------- under load


class Held:
    """In the place of a studio's `paint`: paints when it is told to, and looks up meanwhile."""

    def __init__(self, served: serving.Thread) -> None:
        self.begun, self.go, self.ended = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)
        self._paint = served.server.studio.paint
        served.server.studio.paint = self  # type: ignore[method-assign]

    def __call__(self, photo: Any, options: Options, own: bytes | None = None, watch: Any = lambda _: None) -> Any:
        self.begun.release()
        try:
            while not self.go.wait(0.01):
                watch(0.5)
            return self._paint(photo, options, own, watch)
        finally:
            self.ended.release()


def posted(served: serving.Thread, answers: list[httpx.Response]) -> threading.Thread:
    """A request in a thread."""

    def post() -> None:
        with served.client() as client:
            answers.append(client.post("/v1/stylize", content=picture()))

    started = threading.Thread(target=post)
    started.start()
    return started


def half_sent(url: str, path: str = "/v1/stylize", body: bytes = b"x" * 100) -> socket.socket:
    """A connection on which half of an upload has been sent."""
    address = urlsplit(url)
    assert address.port
    connection = socket.create_connection((address.hostname or "", address.port))
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: image/jpeg\r\nContent-Length: {2 * len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_a_full_line_says_503_and_when_to_come_again() -> None:
    with serving.thread(workers=1, queue=2) as served, served.client() as client:
        held, answers = Held(served), list[httpx.Response]()
        waiting = [posted(served, answers) for _ in range(3)]
        serving.until(lambda: served.server.line.taken == 3)
        refused = client.post("/v1/stylize", content=picture())
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200  # what needs no place goes on
        held.go.set()
        for each in waiting:
            each.join(serving.PATIENCE)
        assert [answer.status_code for answer in answers] == [200] * 3
        assert served.server.line.taken == 0
        assert client.post("/v1/stylize", content=picture()).status_code == 200


def test_a_client_that_goes_away_frees_its_place() -> None:
    with serving.thread(workers=1, queue=1) as served, served.client() as client:
        held = Held(served)
        body = picture()
        address = urlsplit(served.url)
        connections = []
        for number in (1, 2):  # one in work, one that waits
            connection = socket.create_connection((address.hostname or "", address.port or 0))
            head = f"POST /v1/stylize HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            connections.append(connection)
            serving.until(lambda number=number: served.server.line.taken == number)
        assert held.begun.acquire(timeout=serving.PATIENCE)
        for left in (1, 0):  # the one that waits goes first: otherwise it could begin before it goes
            connections[left].close()
            serving.until(lambda left=left: served.server.line.taken == left)
        assert not held.begun.acquire(blocking=False)  # the one that waited was never begun
        held.go.set()
        assert client.post("/v1/stylize", content=body).status_code == 200


def test_half_an_upload_takes_a_place_only_while_its_client_is_there() -> None:
    with serving.thread(workers=1, queue=0) as served, served.client() as client:
        with half_sent(served.url):
            serving.until(lambda: served.server.line.taken == 1)
            assert client.post("/v1/stylize", content=picture()).status_code == 503
        serving.until(lambda: served.server.line.taken == 0)
        assert client.post("/v1/stylize", content=picture()).status_code == 200


def test_a_slow_upload_is_408() -> None:
    with serving.thread(upload_seconds=1) as served, half_sent(served.url) as connection:
        answer = b""
        while part := connection.recv(65_536):  # until the server hangs up
            answer += part
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"not whole after 1 seconds" in answer
        assert served.server.line.taken == 0


def test_a_picture_that_takes_too_long_is_given_up() -> None:
    with serving.thread(workers=1, seconds=1) as served, served.client() as client:
        held = Held(served)
        answer = client.post("/v1/stylize", content=picture())
        assert answer.status_code == 503
        assert "longer than 1 seconds" in answer.json()["detail"]
        assert held.ended.acquire(timeout=serving.PATIENCE)  # it looked up, and ended
        serving.until(lambda: served.server.line.taken == 0)


def test_one_engine_is_shared() -> None:
    with serving.thread(workers=4) as served, served.client() as client:
        answers = list[httpx.Response]()
        for each in [posted(served, answers) for _ in range(8)]:
            each.join(serving.PATIENCE)
        assert {answer.content for answer in answers} == {client.post("/v1/stylize", content=picture()).content}
        assert list(served.server.studio._styles) == [(bundled.default(), "standard")]


# ------------------------------------------------------------------------------------------------------------------ jobs


def events(client: httpx.Client, id: str) -> list[dict[str, Any]]:
    with client.stream("GET", f"/v1/jobs/{id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: ")]


def test_a_job_of_many_is_a_zip_with_what_could_be_painted(client: httpx.Client) -> None:
    pictures = [("a.png", picture()), ("a.png", picture(50, 30)), ("bad.png", b"nothing"), ("b.png", picture())]
    answer = client.post("/v1/jobs", files=[("image", each) for each in pictures], data={"style": "starry-night"})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    told = events(client, job["id"])
    parts = [each["part"] for each in told]
    assert parts == sorted(parts)
    assert (told[-1]["state"], told[-1]["done"], told[-1]["total"], told[-1]["part"]) == ("done", 4, 4, 1.0)
    assert [sentence.startswith("bad.png is not a picture") for sentence in told[-1]["errors"]] == [True]
    result = client.get(f"/v1/jobs/{job['id']}/result")
    with zipfile.ZipFile(io.BytesIO(result.content)) as archive:
        assert archive.namelist() == ["a.starry-night.png", "a-2.starry-night.png", "b.starry-night.png"]
        single = client.post("/v1/stylize", files={"image": ("a.png", picture(50, 30))}, data={"style": "starry-night"})
        assert archive.read("a-2.starry-night.png") == single.content
    assert name_of(result) == "paintings.starry-night.zip"
    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "done"
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}/result").status_code == 404


def test_a_job_of_one_is_its_painting(client: httpx.Client) -> None:
    job = client.post("/v1/jobs", content=picture(), params={"style": "ink"}).json()
    assert events(client, job["id"])[-1]["state"] == "done"
    result = client.get(f"/v1/jobs/{job['id']}/result")
    assert result.content == client.post("/v1/stylize", content=picture(), params={"style": "ink"}).content
    assert result.headers["content-type"] == "image/png"


def test_a_job_of_nothing_but_damage_has_failed(client: httpx.Client) -> None:
    job = client.post("/v1/jobs", content=b"nothing").json()
    assert events(client, job["id"])[-1]["state"] == "failed"
    answer = client.get(f"/v1/jobs/{job['id']}/result")
    assert (answer.status_code, "is not a picture" in answer.json()["detail"]) == (409, True)


def test_jobs_are_bounded_and_can_be_cancelled() -> None:
    with serving.thread(workers=1, jobs=1) as served, served.client() as client:
        held = Held(served)
        files = [("image", ("a.png", picture()))] * 3
        job = client.post("/v1/jobs", files=files).json()
        assert held.begun.acquire(timeout=serving.PATIENCE)
        assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "painting"
        assert client.get(f"/v1/jobs/{job['id']}/result").status_code == 409
        assert client.post("/v1/jobs", files=files).status_code == 503
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
        assert client.get(f"/v1/jobs/{job['id']}").status_code == 404
        assert held.ended.acquire(timeout=serving.PATIENCE)
        held.go.set()
        job = client.post("/v1/jobs", files=files).json()
        assert events(client, job["id"])[-1]["state"] == "done"


# ------------------------------------------------------------------------------------------------------------------ the end


def test_sigterm_finishes_what_is_running_and_ends_streams(tmp_path: Path) -> None:
    big = io.BytesIO()
    Image.fromarray(np.tile(make_photo(500, 500), (3, 3, 1))).save(big, "JPEG")
    with serving.process("--workers", "1") as served, served.client() as client:
        answers = list[httpx.Response]()

        def post() -> None:
            with served.client() as other:
                answers.append(other.post("/v1/stylize", content=big.getvalue(), params={"style": "starry-night"}))

        working = threading.Thread(target=post)
        working.start()
        serving.until(lambda: "limner_line_running 1.0" in client.get("/metrics").text)
        job = client.post("/v1/jobs", content=picture()).json()  # waits behind it
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            served.process.send_signal(signal.SIGTERM)
            assert "event: cancelled" in list(lines)
        working.join(serving.PATIENCE)
        assert answers[0].status_code == 200
        assert Image.open(io.BytesIO(answers[0].content)).size == (1500, 1500)
        assert served.process.wait(serving.PATIENCE) in (0, -signal.SIGTERM)
