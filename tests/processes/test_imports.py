"""What a module imports, and what it leaves alone, in a fresh process."""

import subprocess
import sys


def test_import_of_audio_stays_light():
    code = "import sys, audiotag.features.audio; print([m for m in ('torch', 'librosa', 'pandas') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_import_of_plots_needs_no_screen_and_no_global_state():
    code = "import sys, audiotag.plots.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_import_of_the_desk_waits_until_it_is_to_be_served():
    slow = ("torch", "pandas", "fastapi", "uvicorn", "websockets")
    code = f"import sys, audiotag.review.__main__; print([m for m in {slow} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_import_beside_a_checkout_finds_the_package(tmp_path):
    """A folder of that name, as `git clone` makes it, is no package of its own for who works in the folder above."""
    (tmp_path / "audiotag").mkdir()
    code = "import audiotag; print(audiotag.load.__module__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout.strip() == "audiotag.api"
