/**
 * What transformers makes of a tokenizer.json: its class can replace parts of the file. The rules
 * are those of `bitnet_onnx/text/tokenizer_class.py`.
 */

import { EngineError } from "../errors.ts";
import type { Json } from "./tokenizer-files.ts";

const PLAIN = ["PreTrainedTokenizer", "TokenizersBackend", "PythonBackend", "BloomTokenizer"];

type Build = (config: Json) => Json;

/** The name of the class that replaces parts of the file; null where none does. */
export function builderOf(config: Json, model: Json, file: string): string | null {
  // Of the networks with an artifact, transformers registers a tokenizer for this one alone.
  const registered = model["model_type"] === "qwen3" ? "Qwen2Tokenizer" : null;
  const given = config["tokenizer_class"] || model["tokenizer_class"] || registered;
  if (given === null || given === undefined) return null;
  if (typeof given !== "string") {
    throw new EngineError("artifact", `tokenizer_class is ${JSON.stringify(given)}, not a name.`);
  }
  const name = given.replace(/Fast$/, "");
  if (PLAIN.includes(name)) return null;
  if (!(name in BUILDERS)) {
    throw new EngineError(
      "unsupported",
      `The tokenizer_class is ${name}, which this page does not know.`,
      "If tokenizer.json holds all of the tokenizer, name PreTrainedTokenizerFast there.",
    );
  }
  if (name === "LlamaTokenizer" && file.includes('"ByteLevel"')) return null;
  return name;
}

/** The named tokens that the class assumes where tokenizer_config.json is silent. */
export function defaultNames(builder: string | null): Json {
  return { ...(builder === null ? {} : BUILDERS[builder]?.names) };
}

/** The tokenizer.json that the class builds, without added tokens. */
export function rebuilt(builder: string, config: Json, file: Json): Json {
  const model = file["model"] as Json | undefined;
  if (model?.["type"] !== "BPE") {
    throw new EngineError("artifact", `tokenizer.json holds no BPE model, as ${builder} needs it.`);
  }
  const { model: flags, ...parts } = BUILDERS[builder]?.build(config) ?? {};
  return {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    post_processor: builder === "GPTNeoXTokenizer" ? null : (file["post_processor"] ?? null),
    ...parts,
    model: {
      type: "BPE",
      vocab: model["vocab"],
      merges: model["merges"],
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ...(flags as Json | undefined),
    },
  };
}

function byteLevel(prefix = true, regex = true): Json {
  return { type: "ByteLevel", add_prefix_space: prefix, trim_offsets: true, use_regex: regex };
}

const gpt2: Build = (config) => ({
  pre_tokenizer: byteLevel(Boolean(config["add_prefix_space"])),
  decoder: byteLevel(),
});

const gptNeox: Build = (config) => ({ ...gpt2(config), normalizer: { type: "NFC" } });

const cohere: Build = (config) => {
  const level = byteLevel(Boolean(config["add_prefix_space"]));
  const digits = { type: "Digits", individual_digits: true };
  return {
    normalizer: { type: "NFC" },
    pre_tokenizer: { type: "Sequence", pretokenizers: [digits, level] },
    decoder: level,
  };
};

function qwen(letters: string, others: string): Build {
  const pattern =
    `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?${letters}+|\\p{N}|` +
    ` ?[^\\s${others}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
  const split = { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
  return (config) => {
    const level = byteLevel(Boolean(config["add_prefix_space"]), false);
    return {
      normalizer: { type: "NFC" },
      pre_tokenizer: { type: "Sequence", pretokenizers: [split, level] },
      decoder: byteLevel(),
    };
  };
}

const BLANKS: Json[] = [
  { type: "Replace", pattern: { String: "▁" }, content: " " },
  { type: "ByteFallback" },
  { type: "Fuse" },
];

const llama: Build = (config) => {
  const prefix = Boolean(config["add_prefix_space"] ?? true);
  const scheme = prefix ? (config["legacy"] ? "always" : "first") : "never";
  const strip = prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [];
  return {
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: scheme, split: false },
    decoder: { type: "Sequence", decoders: [...BLANKS, ...strip] },
    model: { fuse_unk: true, byte_fallback: true },
  };
};

const gemma: Build = (config) => {
  const pattern = { String: " " };
  const unknown = config["unk_token"] ?? "<unk>";
  const text = typeof unknown === "object" ? (unknown as Json)["content"] : unknown;
  return {
    normalizer: { type: "Replace", pattern, content: "▁" },
    pre_tokenizer: { type: "Split", pattern, behavior: "MergedWithPrevious", invert: false },
    decoder: { type: "Sequence", decoders: BLANKS },
    model: { fuse_unk: true, byte_fallback: true, unk_token: text },
  };
};

const END = "<|endoftext|>";
const BUILDERS: Record<string, { build: Build; names: Json }> = {
  CohereTokenizer: {
    build: cohere,
    names: {
      bos_token: "<BOS_TOKEN>",
      eos_token: "<|END_OF_TURN_TOKEN|>",
      unk_token: "<UNK>",
      sep_token: "<SEP>",
      pad_token: "<PAD>",
      cls_token: "<CLS>",
      mask_token: "<MASK_TOKEN>",
    },
  },
  GPT2Tokenizer: { build: gpt2, names: { bos_token: END, eos_token: END, unk_token: END } },
  GPTNeoXTokenizer: {
    build: gptNeox,
    names: { bos_token: END, eos_token: END, unk_token: END, pad_token: "<|padding|>" },
  },
  GemmaTokenizer: {
    build: gemma,
    names: {
      bos_token: "<bos>",
      eos_token: "<eos>",
      unk_token: "<unk>",
      pad_token: "<pad>",
      mask_token: "<mask>",
    },
  },
  LlamaTokenizer: {
    build: llama,
    names: { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" },
  },
  Qwen2Tokenizer: {
    build: qwen("\\p{L}", "\\p{L}"),
    names: { eos_token: END, unk_token: END, pad_token: END },
  },
  Qwen3_5Tokenizer: {
    build: qwen("[\\p{L}\\p{M}]", "\\p{L}\\p{M}"),
    names: { eos_token: END, unk_token: END, pad_token: END },
  },
};
