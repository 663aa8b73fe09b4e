"""A cluster that goes away ends the scan with a line that says so, and what was read is kept."""

import subprocess
import sys

import pytest

import audit

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters need another system")


@POSIX
@pytest.mark.slow
def test_a_scan_whose_cluster_is_gone_says_so_and_goes_on_elsewhere(tmp_path, data, started_head, scan_on):
    out = tmp_path / "run"
    with started_head(None) as head:
        scan = scan_on(head.address, data, out, "--batch-size", "2", HOME=tmp_path, RAY_gcs_rpc_server_reconnect_timeout_s=5)
        notes = iter(scan.stderr.readline, "")
        assert any("blocks of images for up to" in line for line in notes)
        head.kill()
        told = list(notes)
        assert scan.wait(300) != 0
    assert told[-1].startswith("error: --engine ray: the process was ended, by Ray where its cluster is gone; start that again, and the same")
    options = audit.ScanOptions(backbone="embedded", device="cpu", offline=True, only=("integrity",))
    assert len(audit.scan(data, out, options=options)) == 282


@pytest.mark.parametrize(("end", "told"), [("pass", []), ("raise KeyboardInterrupt", []), ("os._exit(3)", ["gone"])])
def test_the_word_is_said_only_where_the_process_cannot(end, told):
    line = f"import os\nfrom audit.engines.ray.exit_message import last_word\nwith last_word('gone'):\n    {end}"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert [line for line in done.stderr.splitlines() if line == "gone"] == told
