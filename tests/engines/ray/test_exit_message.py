"""Losing the cluster ends the scan with a message, and the scan can be resumed."""

import subprocess
import sys

import pytest

import audit

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters need another system")


@POSIX
@pytest.mark.slow
def test_lost_cluster_is_reported_and_the_scan_resumes_locally(tmp_path, data, started_head, scan_on):
    out = tmp_path / "run"
    with started_head(None) as head:
        scan = scan_on(head.address, data, out, "--batch-size", "2", HOME=tmp_path, RAY_gcs_rpc_server_reconnect_timeout_s=5)
        notes = iter(scan.stderr.readline, "")
        assert any("blocks of images for up to" in line for line in notes)
        head.kill()
        printed = list(notes)
        assert scan.wait(300) != 0
    assert printed[-1].startswith("error: --engine ray: the scan was killed (by Ray, if its cluster is gone); restart the cluster and run")
    options = audit.ScanOptions(backbone="embedded-small", device="cpu", offline=True, only=("integrity",))
    assert len(audit.scan(data, out, options=options)) == 282


@pytest.mark.parametrize(("end", "expected"), [("pass", []), ("raise KeyboardInterrupt", []), ("os._exit(3)", ["gone"])])
def test_message_is_printed_only_after_a_hard_exit(end, expected):
    line = f"import os\nfrom audit.engines.ray.exit_message import exit_message\nwith exit_message('gone'):\n    {end}"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert [line for line in done.stderr.splitlines() if line == "gone"] == expected
