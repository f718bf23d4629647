// A model for browsers and Node.js, made by edgepress @VERSION@. README.md says how it is used.
/** What the model takes and answers. */
export const about = @ABOUT@;

@PIXELS@
@CORE@
/** Compile the model: model.wasm beside this module, or another place or its bytes. */
export async function load(source = new URL("@NAME@.wasm", import.meta.url)) {
  let bytes = source;
  if (!(source instanceof ArrayBuffer || ArrayBuffer.isView(source))) {
    const url = new URL(source, import.meta.url);
    if (url.protocol === "file:" && globalThis.process?.versions?.node) { // Node.js fetches no files
      const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ "node:fs/promises");
      bytes = await readFile(url);
    } else {
      const reply = await fetch(url);
      if (!reply.ok) throw new Error(`${url.href}: ${reply.status} ${reply.statusText}`);
      bytes = await reply.arrayBuffer();
    }
  }
  return new Classifier((await WebAssembly.instantiate(bytes)).instance);
}
export { Classifier };
