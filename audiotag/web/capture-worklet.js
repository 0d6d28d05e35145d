// Hands over what is recorded, mono, in blocks, and does nothing else: what takes time here would be heard as gaps.

const BLOCK = 1024;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.held = 0;
  }

  process([channels]) {
    if (!channels.length) return true; // nothing is connected yet
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.block[this.held++] = sum / channels.length;
      if (this.held === BLOCK) {
        this.port.postMessage(this.block, [this.block.buffer]);
        this.block = new Float32Array(BLOCK);
        this.held = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
