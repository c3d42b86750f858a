import { openEngine } from "./core/api";

void openEngine;
