import escape from "./node_modules/escape-string-regexp/index.js";

// The lines of a text that contain a word, taken literally.
export function matches(text, word) {
  const pattern = new RegExp(escape(word));
  return text.split("\n").filter((line) => pattern.test(line));
}
