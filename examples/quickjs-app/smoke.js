import * as std from "std";
import { matches } from "./lines.js";

if (matches("a.b\naxb", "a.b").length !== 1) {
  console.log("the lines do not match");
  std.exit(1);
}
