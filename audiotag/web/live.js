// The page: what is recorded goes to a source of predictions (see worker-source.js), and what it says is shown.

import { Spectrogram } from "./spectrogram.js";
import { wav } from "./wav.js";

const TOP = 5; // labels, if the source does not say
const KEPT_S = 10;
const EDGE_FRAMES = 3; // at a window's end, where frames reach beyond it

const element = (id) => document.getElementById(id);
const button = (name) => document.querySelector(`[data-do="${name}"]`);

export async function start(source) {
  const page = new Page(source);
  try {
    page.ready(await source.open());
  } catch (error) {
    page.problem(`The network cannot be loaded: ${error.message}`);
  }
}

class Page {
  constructor(source) {
    this.source = source;
    this.spectrogram = new Spectrogram(element("spectrogram"), element("hertz"));
    this.kept = []; // blocks of the last KEPT_S seconds and a little more
    this.recorded = 0; // samples since the start
    this.shown = null; // smoothed posteriors
    this.drawn = 0; // the first sample that is not drawn yet
    this.left_out = 0;
    this.paused = false;
    element("privacy").textContent = source.privacy;
    source.onprediction = (prediction) => this.predicted(prediction);
    source.onproblem = (text) => this.problem(text);
    source.onend = async (text) => {
      await this.stop();
      this.problem(text);
    };
  }

  ready(about) {
    this.about = about;
    element("about").textContent = `${about.runs.join(" + ")}: ${about.classes.length} classes, heard ${about.window_s.toFixed(1)} s at a time`;
    this.bars = Array.from({ length: about.top ?? TOP }, () => bar(element("bars")));
    this.spectrogram.label(about.bands_hz);
    const slider = element("smoothing");
    slider.max = Math.max(slider.max, about.smoothing_s ?? 0);
    slider.step = "any"; // whatever the setting says
    slider.value = about.smoothing_s ?? slider.value;
    slider.step = 0.1;
    const tell = () => (element("smoothing_s").textContent = `${Number(slider.value).toFixed(1)} s`);
    slider.addEventListener("input", tell);
    tell();
    const actions = { listen: () => this.listen(), pause: () => this.pause(), keep: () => this.keep(), open: () => element("file").click() };
    for (const [name, action] of Object.entries(actions)) button(name).addEventListener("click", action);
    const keys = { s: "listen", p: "pause", " ": "pause", k: "keep", o: "open" };
    document.addEventListener("keydown", (event) => {
      const name = keys[event.key.toLowerCase()];
      if (!name || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input, button")) return;
      event.preventDefault();
      if (!button(name).disabled) actions[name]();
    });
    element("device").addEventListener("change", () => this.context && this.restart());
    element("file").addEventListener("change", (event) => this.open(event.target.files[0]));
    for (const name of ["listen", "open"]) button(name).disabled = false;
    if (!this.source.file) button("open").hidden = true;
    this.devices();
  }

  problem(text) {
    element("problem").textContent = text;
    element("problem").hidden = !text;
  }

  async devices() {
    const found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    const chosen = element("device").value;
    const options = found.filter(({ kind, deviceId }) => kind === "audioinput" && deviceId);
    element("device").replaceChildren(new Option("the usual one", ""), ...options.map(({ label, deviceId }, i) => new Option(label || `microphone ${i + 1}`, deviceId)));
    element("device").value = options.some(({ deviceId }) => deviceId === chosen) ? chosen : "";
  }

  async restart() {
    await this.stop();
    await this.listen();
  }

  async listen() {
    if (this.context) return this.stop();
    this.problem("");
    this.reset();
    const wanted = element("device").value;
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    try {
      if (!navigator.mediaDevices) throw new Error("a page may record only from https, or from this very machine");
      // The browser resamples to the rate that the network hears.
      this.context = new AudioContext({ sampleRate: this.about.sample_rate_hz });
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: { ...plain, ...(wanted && { deviceId: { exact: wanted } }) } });
      await this.context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
      const capture = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0 });
      capture.port.onmessage = ({ data }) => this.heard(data);
      this.context.createMediaStreamSource(this.stream).connect(capture);
    } catch (error) {
      await this.stop();
      return this.problem(`Nothing can be recorded: ${error.message}`);
    }
    button("listen").firstChild.textContent = "Stop ";
    button("pause").disabled = button("keep").disabled = false;
    element("status").textContent = "Listening";
    this.devices(); // they have names now
  }

  async stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    await this.context?.close();
    this.context = this.stream = null;
    button("listen").firstChild.textContent = "Start ";
    button("pause").disabled = true;
    this.source.reset(); // of what has been sent nothing more is wanted
    this.setPaused(false);
    element("level").value = -60;
    element("status").textContent = "Not listening";
  }

  reset() {
    this.source.reset();
    this.kept = [];
    this.recorded = this.drawn = this.left_out = this.dropped_s = this.shown_at = 0;
    this.shown = null;
    this.spectrogram.clear();
  }

  pause() {
    this.setPaused(!this.paused);
    if (!this.paused) this.drawn = 0; // what came meanwhile is not drawn
  }

  setPaused(paused) {
    this.paused = paused;
    button("pause").setAttribute("aria-pressed", String(paused));
    if (this.context) element("status").textContent = paused ? "Paused" : "Listening";
  }

  heard(block) {
    if (!this.context) return;
    let peak = 0;
    for (const sample of block) peak = Math.max(peak, Math.abs(sample));
    element("level").value = Math.max(-60, 20 * Math.log10(peak || 1e-9));
    this.kept.push(block.slice());
    this.recorded += block.length;
    while ((this.kept.length - 1) * block.length >= KEPT_S * this.about.sample_rate_hz) this.kept.shift();
    this.source.push(block);
  }

  predicted(prediction) {
    if (!prediction.file && !this.context) return; // of what was stopped
    this.left_out += prediction.left_out;
    this.dropped_s += prediction.dropped_s ?? 0;
    if (this.paused) return;
    // After so many seconds 37 % of what was heard is left.
    const smoothing_s = prediction.file ? 0 : Number(element("smoothing").value);
    const passed_s = (prediction.end - this.shown_at) / this.about.sample_rate_hz;
    const kept = this.shown && smoothing_s ? Math.exp(-passed_s / smoothing_s) : 0;
    this.shown = Float64Array.from(prediction.posteriors, (p, i) => (kept ? kept * this.shown[i] + (1 - kept) * p : p));
    this.shown_at = prediction.end;
    this.show(prediction);
    document.dispatchEvent(new CustomEvent("prediction", { detail: prediction }));
  }

  show({ begin, end, spectrogram, silent, took_ms, latency_ms, file }) {
    const order = [...this.shown.keys()].sort((a, b) => this.shown[b] - this.shown[a] || a - b);
    this.bars.forEach((set, k) => set(this.about.classes[order[k]], this.shown[order[k]]));
    element("bars").classList.toggle("silent", silent);
    const hop = this.about.hop_samples;
    const all = file || spectrogram.fresh !== undefined;
    const last = all ? spectrogram.frames : spectrogram.frames - EDGE_FRAMES;
    const fresh = all ? spectrogram.fresh ?? last : Math.min(last, Math.round((end - Math.max(this.drawn, begin)) / hop));
    this.spectrogram.add(spectrogram, last - fresh, last);
    this.drawn = end;
    const late = (this.left_out ? `, ${this.left_out} window${this.left_out > 1 ? "s" : ""} left out` : "") + (this.dropped_s ? `, ${this.dropped_s.toFixed(2)} s dropped` : "");
    const pace = latency_ms === undefined ? `${Math.round(took_ms)} ms a prediction` : `${Math.round(latency_ms)} ms behind the sound`;
    const what = file ? "The whole file" : silent ? "Silence" : "Listening";
    element("status").textContent = `${what}; ${pace}${late}`;
  }

  keep() {
    const all = new Float32Array(this.kept.reduce((sum, block) => sum + block.length, 0));
    let at = 0;
    for (const block of this.kept) {
      all.set(block, at);
      at += block.length;
    }
    const samples = all.subarray(Math.max(0, all.length - KEPT_S * this.about.sample_rate_hz));
    document.dispatchEvent(new CustomEvent("kept", { detail: { begin: this.recorded - samples.length, end: this.recorded } }));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(wav(samples, this.about.sample_rate_hz));
    link.download = `heard-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.wav`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  async open(chosen) {
    element("file").value = "";
    if (!chosen) return;
    await this.stop();
    this.problem("");
    this.reset();
    element("status").textContent = "Reading the file";
    try {
      const decoder = new OfflineAudioContext(1, 1, this.about.sample_rate_hz);
      const sound = await decoder.decodeAudioData(await chosen.arrayBuffer());
      const wave = new Float32Array(sound.length);
      for (let c = 0; c < sound.numberOfChannels; c++) {
        const channel = sound.getChannelData(c);
        for (let i = 0; i < wave.length; i++) wave[i] += channel[i] / sound.numberOfChannels;
      }
      this.kept = [wave.slice()];
      this.recorded = wave.length;
      button("keep").disabled = false;
      this.source.file(wave);
    } catch (error) {
      this.problem(`${chosen.name} cannot be read: ${error.message}`);
      element("status").textContent = "Not listening";
    }
  }
}

/** Add a row to the list, and return what sets its label and its share. */
function bar(list) {
  const [row, label, track, fill, number] = ["li", "span", "div", "div", "span"].map((name) => document.createElement(name));
  label.className = "label";
  track.className = "track";
  fill.className = "fill";
  number.className = "number";
  track.append(fill);
  row.append(label, track, number);
  list.append(row);
  return (text, share) => {
    row.hidden = text === undefined;
    label.textContent = text ?? "";
    label.title = text ?? "";
    fill.style.width = `${100 * (share ?? 0)}%`;
    number.textContent = share === undefined ? "" : `${(100 * share).toFixed(1)} %`;
  };
}
