"""make logs leaves out the lines that every start writes, and no others."""

from serving.logs import LAST, show, telling

WORKER = "2026-11-29T08:22:40,959 [INFO ] W-9001-null_1.0-stdout MODEL_LOG - "
START = "\n".join([
    f"{WORKER}s_name_part0=/tmp/torchserve-5kg2d6hj/.ts.sock, s_name_part1=9001, pid=21145",
    f"{WORKER}Listening on port: /tmp/torchserve-5kg2d6hj/.ts.sock.9001",
    f"{WORKER}Successfully loaded /venv/site-packages/ts/configs/metrics.yaml.",
    f"{WORKER}[PID]21145", f"{WORKER}Torch worker started.", f"{WORKER}Python runtime: 3.11.7",
    f"{WORKER}Connection accepted: /tmp/torchserve-5kg2d6hj/.ts.sock.9001.", f"{WORKER}model_name: null, batchSize: 1",
    "Model server started.", "nvidia-smi not available or failed: Cannot run program", "",
])  # fmt: skip


def test_lines_of_every_start_are_left_out_and_others_are_shown(tmp_path, capsys):
    (tmp_path / "model_log.log").write_text(f"{START}{WORKER}Traceback (most recent call last):\n{START}")
    (tmp_path / "console.log").write_text(START)
    (tmp_path / "ts_log.log").write_text("")
    assert show([tmp_path]) == 0
    shown = capsys.readouterr().out
    assert f"==> {tmp_path / 'model_log.log'} <==\n{WORKER}Traceback (most recent call last):\n" in shown
    assert "console.log" not in shown and "ts_log.log" not in shown and "Torch worker started" not in shown
    assert shown.endswith(f"all lines are in {tmp_path}\n")


def test_lines_that_only_hold_the_words_of_a_start_and_the_last_of_many_are_kept(tmp_path):
    lines = [f"{WORKER}ERROR: Torch worker started. {number}" for number in range(LAST + 5)]
    (tmp_path / "model_log.log").write_text("\n".join(lines))
    assert telling(tmp_path / "model_log.log") == lines[5:]
