const ARRAYS = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array };
const MOST_PIXELS = 1e8;
const SMALLEST = 1e-6;

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const maxOf = (values) => values.reduce((most, each) => Math.max(most, each), -Infinity);
const sumOf = (values) => values.reduce((sum, each) => sum + each, 0);

/** The model, compiled. `load` makes it. */
class Classifier {
  #wasm;
  #levels = about.input.levels && bytesOf(about.input.levels);
  #references = about.unknown && referencesOf(about.unknown);

  constructor(instance) {
    this.#wasm = instance.exports;
    this.#wasm.model_reset?.();
  }

  /** The answer to an item as the model stores both: about.input.numbers of about.input.stored. */
  run(item) {
    const { input, output } = about, Item = ARRAYS[input.stored];
    if (item?.length !== input.numbers) throw new RangeError(`The model takes ${input.numbers} numbers, not ${item?.length}.`);
    new Item(this.#wasm.memory.buffer, this.#wasm.model_input(), input.numbers).set(item);
    return this.#answer(output);
  }

  /** Scores of a picture { data (RGBA), width, height }, or of real values, one a label. */
  scores(item) {
    if (this.#levels) return scoresOf(this.run(this.#storedPicture(item)));
    const { numbers } = about.input;
    if (item?.length !== numbers) throw new RangeError(`The model takes ${numbers} values, not ${item?.length}.`);
    const values = Float32Array.from(item);
    if (!values.every(Number.isFinite)) throw new RangeError("A value is no finite number.");
    new Float32Array(this.#wasm.memory.buffer, this.#wasm.model_values(), numbers).set(values);
    this.#wasm.model_take_values();
    return scoresOf(this.#answer(about.output));
  }

  /** All labels, best first, with (calibrated) probabilities; those that the answer names; and whether it is accepted. */
  classify(item) {
    const scores = this.scores(item), order = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b);
    let chosen = order.slice(0, 1);
    if (about.task === "multilabel") chosen = order.filter((row) => scores[row] >= about.threshold);
    if (about.task === "sigmoid") chosen = [scores[1] >= about.threshold ? 1 : 0];
    const known = probabilitiesOf(scores);
    return {
      answer: chosen.map((row) => about.labels[row]),
      classes: order.map((row) => ({ label: about.labels[row], score: known[row] })),
      accepted: about.accept && this.#certainty(scores) >= about.accept.at_least,
    };
  }

  /** How many items of selftest.json have the expected answer, to the bit. */
  selfTest({ inputs, outputs }) {
    const Item = ARRAYS[about.input.stored];
    const right = inputs.filter((text, i) => {
      const found = this.run(new Item(bytesOf(text).buffer)), expected = bytesOf(outputs[i]);
      return new Uint8Array(found.buffer).every((byte, n) => byte === expected[n]);
    });
    return { items: inputs.length, right: right.length };
  }

  #answer({ numbers, stored }) {
    if (about.begins_anew) this.#wasm.model_reset();
    this.#wasm.model_run();
    return new ARRAYS[stored](this.#wasm.memory.buffer, this.#wasm.model_output(), numbers).slice();
  }

  #storedPicture({ data, width, height } = {}) {
    if (!(width > 0 && height > 0 && data?.length === 4 * width * height)) {
      throw new RangeError("A picture is { data, width, height } with four bytes (red, green, blue, alpha) a pixel.");
    }
    const { shape: [rows, columns, depth], resize, blue_first, channels_first, stored } = about.input;
    const pixels = fitted(data, width, height, [rows, columns, depth], resize), item = new Uint8Array(pixels.length);
    const area = rows * columns;
    for (let i = 0, at = 0; i < area; i++) {
      for (let c = 0; c < depth; c++, at++) {
        const slot = blue_first ? depth - 1 - c : c;
        item[channels_first ? slot * area + i : i * depth + slot] = this.#levels[slot * 256 + pixels[at]];
      }
    }
    return new ARRAYS[stored](item.buffer);
  }

  // The steps of runtime/acceptance.py.
  #certainty(scores) {
    const known = scores.map((score) => Math.max(score, SMALLEST)), sum = sumOf(known);
    const entropy = sumOf(known.map((each) => (-each / sum) * Math.log(each / sum)));
    const certainty = 1 - entropy / Math.log(Math.max(scores.length, 2));
    if (!about.unknown) return Math.fround(certainty);
    const direction = unit(scores.map((score) => Math.log(Math.max(score, about.unknown.floor))), true);
    const nearest = maxOf(this.#references.map((each) => sumOf(each.map((value, i) => value * direction[i]))));
    return Math.fround(nearest) >= about.unknown.at_least ? Math.fround(certainty) : -Infinity;
  }
}

function referencesOf({ references, labels }) {
  const stored = new Int8Array(bytesOf(references).buffer);
  return Array.from({ length: stored.length / labels }, (_, i) => unit([...stored.subarray(i * labels, (i + 1) * labels)]));
}

/** A direction of length 1, without its mean if it is to be centred. */
function unit(values, centred = false) {
  const mean = centred ? sumOf(values) / values.length : 0, moved = values.map((value) => value - mean);
  const length = Math.max(Math.sqrt(sumOf(moved.map((value) => value * value))), SMALLEST);
  return moved.map((value) => value / length);
}

function scoresOf(answer) {
  const { scale, zero_point, sigmoid } = about.output;
  let values = Array.from(answer, (stored) => Math.fround((stored - zero_point) * scale));
  if (sigmoid) values = values.map((value) => 1 / (1 + Math.exp(-value)));
  if (about.task === "sigmoid") return [1 - values[0], values[0]];
  if (about.task !== "logits") return values;
  const most = maxOf(values), powers = values.map((value) => Math.exp(value - most)), sum = sumOf(powers);
  return powers.map((power) => power / sum);
}

function probabilitiesOf(scores) {
  if (!about.probability) return scores;
  const { temperature, offset, slope } = about.probability;
  const known = scores.map((score) => Math.max(score, 0) + Math.max(offset, SMALLEST)), top = maxOf(known);
  const others = Math.max(sumOf(known.map((each) => each / top)) - 1, SMALLEST);
  const power = Math.min(1e4, Math.max(1e-4, 1 / others)) ** slope;
  const logits = known.map((each) => (Math.log(each) / temperature) * power), most = maxOf(logits);
  const powers = logits.map((each) => Math.exp(each - most)), sum = sumOf(powers);
  return powers.map((each) => each / sum);
}
