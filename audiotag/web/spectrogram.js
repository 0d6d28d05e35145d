// A spectrogram that scrolls: each column once, the newest at the right.

const STOPS = [[0, 0, 4], [40, 17, 89], [114, 31, 129], [182, 54, 121], [241, 96, 93], [254, 175, 119], [252, 253, 191]];
const SHOWN = [0.3, 0.995]; // shares of all values that are darker, and not brighter
const SAMPLED = 4000;
const SLOW = 0.9;

export class Spectrogram {
  constructor(canvas, hertz) {
    this.canvas = canvas;
    this.hertz = hertz;
    this.context = canvas.getContext("2d", { alpha: false, willReadFrequently: false });
    this.colours = Array.from({ length: 256 }, (_, i) => colour(i / 255));
    this.clear();
  }

  clear() {
    this.range = null;
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  /** Write at their heights the frequencies that are nearest to round ones; `bands_hz` is where each band peaks. */
  label(bands_hz) {
    const words = [[200, "200 Hz"], [1000, "1 kHz"], [5000, "5 kHz"]].map(([hz, word]) => {
      const nearest = bands_hz.reduce((best, f, i) => (Math.abs(f - hz) < Math.abs(bands_hz[best] - hz) ? i : best), 0);
      const span = document.createElement("span");
      span.textContent = word;
      span.style.bottom = `${(100 * (nearest + 0.5)) / bands_hz.length}%`;
      return span;
    });
    this.hertz.replaceChildren(...words);
  }

  /** Draw the frames [from, to) of a spectrogram {bands, frames, values}, values (bands, frames). */
  add({ bands, frames, values }, from, to) {
    const width = Math.min(to - from, this.canvas.width);
    if (width < 1) return;
    const [low, high] = this.follow(values);
    const image = this.context.createImageData(width, bands);
    const pixels = new Uint32Array(image.data.buffer);
    for (let band = 0; band < bands; band++) {
      for (let x = 0; x < width; x++) {
        const share = (values[band * frames + to - width + x] - low) / (high - low || 1);
        pixels[(bands - 1 - band) * width + x] = this.colours[Math.round(255 * Math.min(1, Math.max(0, share)))];
      }
    }
    if (this.canvas.height !== bands) {
      this.canvas.height = bands;
      this.clear();
    }
    this.context.drawImage(this.canvas, -width, 0);
    this.context.putImageData(image, this.canvas.width - width, 0);
  }

  /** Return the values that are darkest and brightest: most of what is heard lies between, whatever its unit. */
  follow(values) {
    const step = Math.max(1, Math.floor(values.length / SAMPLED));
    const sampled = Float32Array.from({ length: Math.floor(values.length / step) }, (_, i) => values[i * step]).sort();
    const [low, high] = SHOWN.map((share) => sampled[Math.floor(share * (sampled.length - 1))]);
    this.range = this.range ? [slowly(this.range[0], low), slowly(this.range[1], high)] : [low, high];
    return this.range;
  }
}

function slowly(before, now) {
  return SLOW * before + (1 - SLOW) * now;
}

/** Return the colour of a share as a little-endian pixel. */
function colour(share) {
  const at = share * (STOPS.length - 1);
  const i = Math.min(Math.floor(at), STOPS.length - 2);
  const [red, green, blue] = [0, 1, 2].map((k) => Math.round(STOPS[i][k] + (at - i) * (STOPS[i + 1][k] - STOPS[i][k])));
  return (255 << 24) | (blue << 16) | (green << 8) | red;
}
