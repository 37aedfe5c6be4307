// Outputs of the TensorFlow.js model of NanoDet-g on an input that a formula fills.
//
//   node reference.mjs FOLDER OUTPUT
//
// FOLDER is that of fetch.py. OUTPUT becomes a file of float32 numbers: scores of the classes, then distributions of
// the distances, each from stride 8 to stride 32.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [folder, output] = process.argv.slice(2);
const tf = createRequire(join(resolve(folder), "package.json"))("@tensorflow/tfjs");
const model = JSON.parse(readFileSync(join(folder, "nanodet.json"), "utf-8"));
const [group] = model.weightsManifest;
const weights = Uint8Array.from(readFileSync(join(folder, "nanodet.bin")));
const load = async () => ({ ...model, weightSpecs: group.weights, weightData: weights.buffer });
const network = await tf.loadGraphModel({ load });

const length = 3 * 416 * 416;
const input = Float32Array.from({ length }, (_, index) => Math.sin(index * 0.01) + Math.cos(index * 0.0007));
const names = ["Identity", "Identity_1", "Identity_2", "Identity_3", "Identity_4", "Identity_5"];
const found = network.execute(tf.tensor(input, [1, 3, 416, 416]), names.map((name) => `${name}:0`));
writeFileSync(output, Buffer.concat(found.map((one) => Buffer.from(Float32Array.from(one.dataSync()).buffer))));
