"use strict";
// Runs in the thread of the sound card: passes on samples as they arrive, of one channel.

const BLOCK = 4096; // samples that are passed on at once

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.count = 0;
  }

  process([channels]) {
    for (let i = 0; channels.length && i < channels[0].length; i++) {
      this.block[this.count++] = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
      if (this.count < BLOCK) continue;
      this.port.postMessage(this.block.slice());
      this.count = 0;
    }
    return true;
  }
}
registerProcessor("recorder", Recorder);
