/** Hands the core to a test in a real browser. */

import { openEngine } from "../../../src/core/api";

Object.assign(globalThis, { openEngine });
