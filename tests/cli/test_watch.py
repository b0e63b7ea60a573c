"""A run that is looked at: drawings and logs as it goes, and the page that keeps itself up to date."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from vifx.cli.watching import serve
from vifx.experiment.live import live_report
from vifx.training import read_metrics


@pytest.mark.thorough
def test_drawings_and_logs_as_it_goes_are_no_part_of_what_the_run_is(tiny, vifx_command, trained, tmp_path):
    looked_at = ["--draw-every", "4", "--log", "csv", "tensorboard"]
    result = vifx_command("train", tiny, "--run", "run", *looked_at)
    assert result.code == 0, result.err
    run = tmp_path / "run"
    for step in ("4", "8"):
        assert (run / "figures" / step / "samples.png").read_bytes().startswith(b"\x89PNG")
    records = [json.loads((each / "config.json").read_text()) for each in (run, trained().run)]
    assert records[0]["config_hash"] == records[1]["config_hash"]
    assert records[0]["command"][3:] == looked_at
    assert (run / "metrics.jsonl").read_bytes() == (trained().run / "metrics.jsonl").read_bytes()
    with (run / "metrics.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    assert rows == read_metrics(run / "metrics.jsonl")
    assert len(list((run / "tensorboard").iterdir())) == 1
    assert vifx_command("resume", "run", "--steps", "12").code == 0
    assert (run / "figures" / "12" / "samples.png").is_file()
    assert len((run / "metrics.csv").read_text().splitlines()) == 7
    refused = vifx_command("train", tiny, "--log", "cvs")
    assert refused.code == 2
    assert "csv" in refused.message


@contextmanager
def served(directory):
    server = serve(directory, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def get(address, **headers):
    """The status, the tag and the text of an answer."""
    request = urllib.request.Request(address, headers={name.replace("_", "-"): text for name, text in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers["ETag"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["ETag"], error.read().decode()


def test_the_page_of_a_run_changes_with_what_it_writes(written):
    run = written("run")
    with served(run) as address:
        status, tag, page = get(f"{address}/")
        assert status == 200
        assert "<h1>tiny</h1>" in page
        assert "8 updates; measured and drawn after update 6." in page
        assert 'alt="samples"' in page
        assert get(f"{address}/", If_None_Match=tag)[0] == 304
        assert get(f"{address}/config.json")[0] == 404
        assert get(f"{address}/", Host="example.org:80")[0] == 404
        (run / "results.json").unlink()
        log = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
        (run / "metrics.jsonl").write_text("".join(log[:3]))
        status, other, page = get(f"{address}/", If_None_Match=tag)
        assert (status, other != tag) == (200, True)
        assert "Update 6 of 8." in page
        assert 'alt="loss"' in page
        assert 'alt="samples"' not in page  # none has been drawn on the way
        assert ">3<" in page  # the loss after update 6
        (run / "figures" / "4").mkdir()
        (run / "figures" / "samples.png").rename(run / "figures" / "4" / "samples.png")
        assert 'alt="samples"' in get(f"{address}/", If_None_Match=other)[2]
        (run / "metrics.jsonl").write_text("no row\n")
        status, _, page = get(f"{address}/")
        assert status == 503
        assert "is damaged" in page


def test_a_run_before_its_first_row_has_a_page(written):
    run = written("run")
    for name in ("results.json", "metrics.jsonl"):
        (run / name).unlink()
    page = live_report(run)
    assert "No update of 8 has been logged yet." in page
    assert "<h2>Metrics</h2>" not in page


def test_what_cannot_be_shown_is_one_line(written, vifx_command):
    run = written("run")
    assert "'nowhere' is not a run directory" in vifx_command("watch", "nowhere").message
    with served(run) as address:
        port = address.rpartition(":")[2]
        assert vifx_command("watch", run, "--port", port).message.startswith(f"--port {port} cannot be used")
    assert "from 0 to 65535" in vifx_command("watch", run, "--port", "70000").message


@pytest.mark.thorough
def test_watching_ends_with_a_signal(written, executable):
    command = [*executable, "watch", str(written("run")), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line
        assert get(line.split()[4])[0] == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "interrupted\n"
