// Types of @NAME@.mjs, made by edgepress @VERSION@.
/** What the model takes and answers. */
export declare const about: {
  readonly name: string;
  readonly task: "softmax" | "logits" | "sigmoid" | "multilabel";
  readonly labels: readonly string[];
  readonly input: { readonly shape: readonly number[]; readonly numbers: number; readonly stored: "int8" | "uint8" | "int16" };
  readonly output: { readonly numbers: number; readonly stored: "int8" | "uint8" | "int16" };
};
/** A picture, such as ImageData: red, green, blue and alpha of each pixel. */
export interface Picture {
  readonly data: ArrayLike<number>;
  readonly width: number;
  readonly height: number;
}
export type Stored = Int8Array | Uint8Array | Int16Array;
export interface Answer {
  /** The labels that the answer names: one, or any number of a multilabel model. */
  answer: string[];
  /** All labels, best first; calibrated probabilities if the file is calibrated. */
  classes: { label: string; score: number }[];
  /** Whether the answer is accepted; null if no limits were calibrated. */
  accepted: boolean | null;
}
export declare class Classifier {
  private constructor();
  classify(item: @ITEM@): Answer;
  /** Scores by label as the file has them, 0 to 1. */
  scores(item: @ITEM@): number[];
  /** The answer to an item as the file stores both. */
  run(item: ArrayLike<number>): Stored;
  /** Takes what selftest.json holds. */
  selfTest(vectors: { inputs: string[]; outputs: string[] }): { items: number; right: number };
}
/** Compile the model: @NAME@.wasm beside the module, or another place or its bytes. */
export declare function load(source?: string | URL | ArrayBuffer | ArrayBufferView): Promise<Classifier>;
