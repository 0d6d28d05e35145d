// What trimming keeps of a recording, and its gain: to the sample what audiotag/features/trimming.py does.

const PEAK = 10 ** (-0.1 / 20);
const THRESHOLD = 0.0015;
const HOLD_S = 0.025;
const WINDOWS_PER_S = 50;
const STEPS = 2 ** 24;
const ROUND = 2 ** 52; // added and taken away again: rounds half to even

/** Return the wave (Float32Array) without silence at its ends, scaled to its peak, and whether all of it is silent. */
export function trim(wave, rate) {
  const peak = loudest(wave, 0);
  if (peak === 0) return { wave, silent: true };
  const start = firstLoud(wave.length, (i) => wave[i], rate, PEAK / peak);
  if (start === null) return { wave: scaled(wave, PEAK / peak), silent: true };
  const gain = PEAK / loudest(wave, start);
  const last = wave.length - 1;
  const cut = firstLoud(wave.length - start, (i) => wave[last - i], rate, gain);
  if (cut === null) return { wave: scaled(wave, PEAK / peak), silent: true };
  return { wave: scaled(wave.subarray(start, wave.length - cut), gain), silent: false };
}

function loudest(wave, from) {
  let peak = 0;
  for (let i = from; i < wave.length; i++) peak = Math.max(peak, Math.abs(wave[i]));
  return peak;
}

function scaled(wave, gain) {
  return wave.map((sample) => sample * gain);
}

/** Return the first sample from which on windows that end there are loud for the hold time; null: there is none. */
function firstLoud(n, sample, rate, gain) {
  const window = Math.floor(rate / WINDOWS_PER_S);
  const hold = Math.floor(rate * HOLD_S + 0.5);
  const limit = Math.floor(window * (THRESHOLD * STEPS) ** 2);
  const highs = new Float64Array(window); // the squares of the last window, in two parts whose sums are exact
  const lows = new Float64Array(window);
  let high = 0;
  let low = 0;
  let quiet = -1; // the last window that was not loud
  for (let i = 0; i < n; i++) {
    const level = Math.abs(sample(i)) * (gain * STEPS) + ROUND - ROUND;
    const square = level * level;
    const part = Math.floor(square / STEPS);
    const at = i % window;
    high += part - highs[at];
    low += square - part * STEPS - lows[at];
    highs[at] = part;
    lows[at] = square - part * STEPS;
    if (high * STEPS + low <= limit) quiet = i;
    else if (i - quiet >= hold) return quiet + 1;
  }
  return null;
}
