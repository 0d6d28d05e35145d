"""Settings of predict.py for streams and parts of recordings: what does not go together is refused, all at once."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from audiotag.config import PredictConfig
from audiotag.config.schema import validate
from audiotag.errors import ConfigError


def config(**given: object) -> PredictConfig:
    return validate(OmegaConf.create({"run": "x", **given}), PredictConfig)


def problems(**given: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(**given)
    return caught.value.problems


@pytest.mark.parametrize(
    "given",
    [
        {"source": "mic", "live": True, "device": 3, "window_frames": 256, "every_frames": 10, "top": 5},
        {"source": "-", "live": True, "pcm": {"rate_hz": 16_000, "encoding": "f32"}, "speed": "sound"},
        {"source": "a.wav", "live": True, "speed": "max", "out": "x.JSONL", "reference": {"level": "fixed"}},
        {"source": ["a", "b"], "segments": True, "every_frames": 5, "segment": {"on": 0.7}, "format": "audacity"},
        {"source": "a", "segments": True, "format": "raven", "out": "folder"},
        {"live": True, "web": True, "host": "0.0.0.0", "port": 8000, "top": 5, "reference": {"level": "running"}},
        {"source": "mic", "live": True, "web": True, "window_frames": 256, "smoothing_s": 1.0, "open": True},
    ],
)
def test_settings_that_go_together(given):
    config(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "mic"}, "source=mic is heard while it comes: set live=true"),
        ({"source": "-"}, "source=- is heard while it comes: set live=true"),
        ({"source": "a", "device": "x"}, "device= belongs to live=true"),
        ({"source": "a", "speed": "max"}, "speed= belongs to live=true"),
        ({"source": "a", "smoothing_s": 1}, "smoothing_s= belongs to live=true"),
        ({"source": "a", "pcm": {"channels": 2}}, "pcm.* belongs to live=true"),
        ({"source": "a", "segments": True, "reference": {"level": "running"}}, "reference.* belongs to live=true"),
        ({"source": "a", "every_frames": 3}, "every_frames= belongs to live=true or segments=true"),
        ({"source": "a", "window_frames": 3}, "window_frames= belongs to live=true or segments=true"),
        ({"source": "a", "segment": {"on": 0.9}}, "segment.* belongs to segments=true"),
        ({"source": "a", "format": "raven"}, "set segments=true"),
        ({"source": "a", "segments": True, "format": "raven", "out": "x.csv"}, "name a folder"),
        ({"source": "a", "segments": True, "segment": {"on": 0.3, "off": 0.5}}, "segment.off=0.5 is above"),
        ({"source": "a", "segments": True, "top": 3}, "top= does not go with segments=true"),
        ({"source": "a", "segments": True, "windows": 3}, "windows= does not go with segments=true"),
        ({"source": "a", "live": True, "cut": False}, "cut= does not go with live=true"),
        ({"source": "a", "live": True, "segments": True}, "live=true and segments=true are two things"),
        ({"source": ["a", "b"], "live": True}, "live=true hears one source"),
        ({"source": "a", "live": True, "device": 1}, "device= belongs to source=mic"),
        ({"source": "mic", "live": True, "pcm": {"rate_hz": 8_000}}, "pcm.* belongs to source=-"),
        ({"source": "mic", "live": True, "speed": "max"}, "a microphone is no faster than sound"),
        ({"source": "a", "live": True, "out": "x.txt"}, "out=x.txt: what is heard live"),
        ({"source": "a", "live": True, "reference": {"level": "loud"}}, "reference.level=loud is not one of"),
        ({"source": "a", "live": True, "pcm": {"encoding": "s24"}}, "pcm.encoding=s24 is not one of"),
        ({"source": "a", "live": True, "reference": {"dbfs": 3}}, "reference.dbfs=3.0"),
        ({"source": "mic", "live": True, "host": "x"}, "host= belongs to web=true"),
        ({"source": "mic", "live": True, "port": 80}, "port= belongs to web=true"),
        ({"source": "a", "open": True}, "open= belongs to web=true"),
        ({"source": "mic", "web": True}, "web=true belongs to live=true"),
        ({"source": "a.wav", "live": True, "web": True}, "source=a.wav: the page of web=true hears the microphone"),
        ({"source": "-", "live": True, "web": True}, "source=-: the page of web=true hears the microphone"),
        ({"live": True, "web": True, "device": "USB"}, "device= does not go with web=true"),
        ({"live": True, "web": True, "out": "x.csv"}, "out= does not go with web=true"),
        ({"live": True, "web": True, "speed": "sound"}, "speed= does not go with web=true"),
        ({"live": True, "web": True, "host": ""}, "host= does not name an address"),
        ({"live": True, "web": True, "port": 70_000}, "port=70000"),
        ({"live": True, "web": True, "split": "test"}, "split= does not go with live=true"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given, message):
    assert any(message in problem for problem in problems(**given)), problems(**given)


def test_problems_are_told_together():
    found = problems(split="test", live=True, device=1, windows=3, out="x.txt", format="submission")
    assert len(found) >= 5
    found = problems(source="a", live=True, web=True, device=1, out="x.csv", speed="max", host="")
    assert len(found) >= 5


def test_stream_shows_five_labels_and_a_recording_three():
    assert config(source="mic", live=True).labels == 5
    assert config(source="a").labels == 3
    assert config(source="mic", live=True, top=2).labels == 2
