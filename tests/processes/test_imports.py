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
