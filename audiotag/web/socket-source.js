// Predictions made by the program that served this page; worker-source.js says what a source has.

const HELD_S = 1; // of sound that waits to be sent; of more, the oldest is dropped
const CHUNK = 32_768; // samples of a file in a message
const DONE = 1000;

export class SocketSource {
  privacy = "The network runs in the program that served this page. Sound goes there to be labelled, nowhere else, and is not kept.";
  onprediction = () => {};
  onproblem = () => {};
  onend = () => {};

  constructor() {
    this.reset();
  }

  async open() {
    const answer = await fetch(new URL("about.json", import.meta.url));
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    this.about = await answer.json();
    return this.about;
  }

  push(block) {
    this.waiting.push(block);
    this.socket ??= this.connect({}, () => this.flush());
    this.flush();
  }

  file(wave) {
    const { sample_rate_hz, longest_s } = this.about;
    if (wave.length > longest_s * sample_rate_hz) throw new Error(`the file lasts more than ${longest_s} s: audiotag predict takes files of any length`);
    this.reset();
    this.socket = this.connect({ samples: wave.length }, (socket) => {
      for (let at = 0; at < wave.length; at += CHUNK) socket.send(wave.subarray(at, at + CHUNK));
    });
  }

  reset() {
    const socket = this.socket;
    this.socket = this.problem = null;
    this.waiting = [];
    this.frames = []; // of the last window, each a Float32Array
    this.lost = 0;
    socket?.close();
  }

  connect(more, opened) {
    const socket = new WebSocket(new URL("api/listen", import.meta.url).href.replace(/^http/, "ws"));
    socket.onopen = () => {
      socket.send(JSON.stringify({ sample_rate_hz: this.about.sample_rate_hz, ...more }));
      opened(socket);
    };
    socket.onmessage = ({ data }) => {
      if (this.socket === socket) this.answered(JSON.parse(data));
    };
    socket.onclose = ({ code }) => {
      if (this.socket !== socket) return;
      const why = this.problem ?? "The program that served this page does not answer: it has ended, or has no room for one more page";
      this.reset();
      if (code !== DONE) this.onend(why);
    };
    return socket;
  }

  /** Send what waits; as long as that cannot go, let it grow no further. */
  flush() {
    const most = HELD_S * this.about.sample_rate_hz;
    const { socket, waiting } = this;
    if (socket.readyState === WebSocket.OPEN && socket.bufferedAmount < most * Float32Array.BYTES_PER_ELEMENT) {
      if (this.lost) socket.send(JSON.stringify({ lost: this.lost }));
      for (const block of waiting) socket.send(block);
      this.lost = 0;
      this.waiting = [];
    } else {
      while (waiting.length * waiting[0].length > most) this.lost += waiting.shift().length;
    }
  }

  answered({ problem, begin_s, end_s, spectrogram: { bands, frames, low, high, data } = {}, ...more }) {
    if (problem) {
      this.problem = problem;
      return;
    }
    const values = Float32Array.from(atob(data), (letter) => low + ((high - low) * letter.charCodeAt(0)) / 255);
    for (let t = 0; t < frames; t++) this.frames.push(values.subarray(t * bands, (t + 1) * bands));
    if (!more.file) this.frames = this.frames.slice(-this.about.window_frames);
    const [begin, end] = [begin_s, end_s].map((s) => Math.round(s * this.about.sample_rate_hz));
    this.onprediction({ begin, end, spectrogram: { ...this.window(bands), fresh: frames }, ...more });
  }

  /** Return the last window's spectrogram: how bright it is drawn depends on all of it. */
  window(bands) {
    const frames = this.frames.length;
    const values = new Float32Array(bands * frames);
    this.frames.forEach((frame, t) => frame.forEach((value, band) => (values[band * frames + t] = value)));
    return { bands, frames, values };
  }
}
