"""The bar: what a terminal sees of long work, and what nobody else does."""

import os
import subprocess
import sys
import textwrap

import pytest

pty = pytest.importorskip("pty", reason="no terminals here")


def seen(code: str) -> tuple[int, str]:
    """Exit code of a program, and what it shows on a terminal."""
    ours, theirs = pty.openpty()
    program = "import sys\nfrom limner.progress import Bar\n" + textwrap.dedent(code)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 1 << 16):
            shown += piece
    except OSError:  # Linux' way to tell that the other end is closed
        pass
    os.close(ours)
    return done.returncode, shown.decode()


def test_a_terminal_sees_count_speed_and_time_left() -> None:
    code, shown = seen(
        """
        with Bar("steps", 40, each=8, of="pictures", done=10, stays=True) as bar:
            for step in range(11, 31):
                bar.show(step, words=f"loss {step}" if step % 10 == 0 else "")
        """
    )
    assert code == 0
    last = shown.split("\n")[-2]
    assert "30/40 steps" in last
    assert "loss 30" in last
    assert "pictures/s" in last
    assert "ETA" in last


def test_the_bar_waits_until_it_is_known_how_much_there_is() -> None:
    assert seen('with Bar("pictures"): print("no bar")') == (0, "no bar\r\n")
    code, shown = seen('with Bar("%", stays=True) as bar: bar.show(1, 4)')
    assert code == 0
    assert "25 %" in shown


def test_lines_go_above_the_bar() -> None:
    code, shown = seen(
        """
        with Bar("pictures", 2) as bar:
            bar.advance()
            print("painted.jpg")
        print("end")
        """
    )
    assert code == 0
    line = next(line for line in shown.split("\r\n") if "painted.jpg" in line)
    assert line.endswith("painted.jpg")
    assert shown.endswith("end\r\n")


def test_ctrl_c_leaves_a_clean_terminal() -> None:
    code, shown = seen(
        """
        try:
            with Bar("pictures", 4) as bar:
                bar.advance()
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            sys.exit(130)
        """
    )
    assert code == 130
    assert "1/4 pictures" in shown
    hidden, visible = shown.rindex("\x1b[?25l"), shown.rindex("\x1b[?25h")  # the cursor
    assert hidden < visible < shown.index("stopped")


def test_who_is_no_terminal_sees_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    from limner.progress import Bar

    with Bar("pictures", 2) as bar:
        bar.advance()
        bar.show(2, words="loss 1")
    assert not bar.seen
    assert capfd.readouterr() == ("", "")


def test_rich_is_loaded_only_where_the_bar_is_seen() -> None:
    code = 'import sys\nfrom limner.progress import Bar\nwith Bar("pictures", 2) as bar: bar.advance()\nassert "rich" not in sys.modules'
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE)
