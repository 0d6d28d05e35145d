// Predictions made in this browser. A source has what `live.js` asks of it, whoever makes the predictions:
//   open()       resolves to what the network says of itself (about.json)
//   push(block)  takes the next samples (Float32Array), at about.sample_rate_hz, which it may keep
//   file(wave)   takes a whole recording; null: it cannot
//   reset()      forgets all samples
//   onprediction({begin, end, posteriors, spectrogram: {bands, frames, values}, silent, left_out, took_ms, file});
//                perhaps dropped_s, latency_ms in place of took_ms, and spectrogram.fresh: how many frames at its end are new
//   onproblem(text)
//   onend(text)  nothing more comes until the next reset, and why; one that never ends need not call it
//   privacy      where the sound goes, in a sentence

export class WorkerSource {
  privacy = "The network runs in this page. No sound leaves it.";
  onprediction = () => {};
  onproblem = () => {};

  open() {
    this.worker = new Worker(new URL("model-worker.js", import.meta.url), { type: "module" });
    return new Promise((resolve, reject) => {
      this.worker.onerror = (event) => reject(new Error(event.message || "the worker could not be started"));
      this.worker.onmessage = ({ data }) => {
        if (data.about) resolve(data.about);
        else if (data.prediction) this.onprediction(data.prediction);
        else {
          reject(new Error(data.problem));
          this.onproblem(data.problem);
        }
      };
      this.worker.postMessage({});
    });
  }

  push(block) {
    this.worker.postMessage({ block }, [block.buffer]);
  }

  file(wave) {
    this.worker.postMessage({ file: wave }, [wave.buffer]);
  }

  reset() {
    this.worker.postMessage({ reset: true });
  }
}
