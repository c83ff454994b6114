/**
 * The tokenizer files of an artifact as transformers reads them: one tokenizer.json with all added
 * tokens, and the named ones. The rules are those of `bitnet_onnx/text/backend.py`.
 */

import { EngineError } from "../errors.ts";
import { builderOf, defaultNames, rebuilt } from "./tokenizer-class.ts";

export type Json = Record<string, unknown>;
export type Files = ReadonlyMap<string, Uint8Array>;

interface Added {
  id: number;
  content: string;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
  special: boolean;
}

const NAMES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token"];
const FLAGS = ["single_word", "lstrip", "rstrip", "normalized", "special"] as const;

export interface Settled {
  tokenizer: Json & { added_tokens: Added[] };
  config: Json;
  names: Readonly<Record<string, string>>;
}

/** Read the files, add what they declare; throws an EngineError for what cannot be the same here. */
export function settle(files: Files): Settled {
  const text = readText(files, "tokenizer.json");
  const given = readJson(files, "tokenizer_config.json");
  const optional = (name: string): Json => (files.has(name) ? readJson(files, name) : {});
  const builder = builderOf(given, optional("config.json"), text);
  const file = readJson(files, "tokenizer.json");
  let config: Json = { ...defaultNames(builder), ...given };
  const complete = "added_tokens_decoder" in given;
  if (!complete) config = { ...config, ...optional("special_tokens_map.json") };
  const parts = builder === null ? file : rebuilt(builder, config, file);
  const written = (file["added_tokens"] ?? []) as Added[];
  const tokenizer = { ...parts, added_tokens: builder === null ? [...written] : [] };
  const names = namedTokens(config);
  const declared = complete
    ? Object.entries(config["added_tokens_decoder"] as Record<string, Json>)
    : [
        ...Object.entries(optional("added_tokens.json")).map(([content, id]): [string, Json] => {
          const special = Object.values(names).includes(content);
          return [String(id), { content, special, normalized: !special }];
        }),
        ...written.map((token): [string, Json] => [String(token.id), { ...token }]),
      ];
  const known = vocabulary(tokenizer);
  for (const [id, fields] of declared.sort(([a], [b]) => Number(a) - Number(b))) {
    add(tokenizer, known, fields);
    if (known.id(String(fields["content"])) !== Number(id)) {
      throw new EngineError(
        "artifact",
        `The added token ${JSON.stringify(fields["content"])} is declared with the id ${id},` +
          " which the tokenizer does not give it.",
      );
    }
  }
  // A named token that the vocabulary lacks would get an id that the model lacks.
  const named = Object.entries(names).map(([name, text]) => config[name] ?? text);
  for (const token of [...named, ...extra(config)]) {
    const content = tokenText(token);
    const old = tokenizer.added_tokens.some((other) => other.content === content);
    if (!old && known.id(content) !== undefined) {
      add(tokenizer, known, { special: true, ...(isObject(token) ? token : { content }) });
    }
  }
  const special = new Set(Object.values(names)); // a named token is one whatever its flag says
  tokenizer.added_tokens = tokenizer.added_tokens.map((token) =>
    special.has(token.content) ? { ...token, special: true } : token,
  );
  refuseOdd(tokenizer, config);
  return { tokenizer, config, names };
}

export function readText(files: Files, name: string, ignoreBOM = false): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM }).decode(files.get(name));
  } catch {
    throw new EngineError("artifact", `The model's ${name} is not UTF-8.`);
  }
}

export function readJson(files: Files, name: string): Json {
  try {
    return JSON.parse(readText(files, name)) as Json;
  } catch (error) {
    throw new EngineError("artifact", `The model's ${name} is not JSON: ${String(error)}.`);
  }
}

function namedTokens(config: Json): Record<string, string> {
  const extra = config["extra_special_tokens"];
  const named = Object.entries(config).filter(
    ([name, token]) =>
      (NAMES.includes(name) && token != null) ||
      (name.endsWith("_token") && (typeof token === "string" || isObject(token))),
  );
  return Object.fromEntries(
    [...named, ...(isObject(extra) ? Object.entries(extra) : [])].map(([name, token]) => [
      name,
      tokenText(token),
    ]),
  );
}

function extra(config: Json): unknown[] {
  const listed = config["extra_special_tokens"] || config["additional_special_tokens"];
  return Array.isArray(listed) ? listed : [];
}

function vocabulary(tokenizer: Settled["tokenizer"]): {
  id: (content: string) => number | undefined;
  next: () => number;
} {
  const vocab = (tokenizer["model"] as Json | undefined)?.["vocab"];
  const list = Array.isArray(vocab) ? (vocab as [string, number][]) : null;
  const ids = list
    ? new Map(list.map(([content], id) => [content, id]))
    : new Map(Object.entries((vocab ?? {}) as Record<string, number>));
  const added = () => tokenizer.added_tokens;
  return {
    id: (content) => added().find((token) => token.content === content)?.id ?? ids.get(content),
    next: () => Math.max(ids.size, ...added().map(({ id }) => id + 1)),
  };
}

function add(
  tokenizer: Settled["tokenizer"],
  known: ReturnType<typeof vocabulary>,
  fields: Json,
): void {
  const content = tokenText(fields);
  const token = { id: known.id(content) ?? known.next(), content } as Added;
  for (const flag of FLAGS) token[flag] = Boolean(fields[flag]);
  token.normalized = Boolean(fields["normalized"] ?? !token.special);
  const place = tokenizer.added_tokens.findIndex((other) => other.content === content);
  const old = tokenizer.added_tokens[place];
  if (old && FLAGS.every((flag) => old[flag] === token[flag])) return;
  if (old) tokenizer.added_tokens[place] = token;
  else tokenizer.added_tokens.push(token);
}

/** Refuse what the library for browsers does in another way. */
function refuseOdd(tokenizer: Settled["tokenizer"], config: Json): void {
  const alone = tokenizer.added_tokens.find((token) => token.single_word);
  const odd = alone
    ? `the added token ${JSON.stringify(alone.content)}, which is a single word,`
    : config["split_special_tokens"]
      ? "split_special_tokens,"
      : JSON.stringify(tokenizer["pre_tokenizer"] ?? null).includes('"Whitespace"')
        ? "the pre-tokenizer Whitespace,"
        : null;
  if (odd === null) return;
  throw new EngineError("unsupported", `The tokenizer needs ${odd} which this page cannot do.`);
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function tokenText(token: unknown): string {
  const text = isObject(token) ? token["content"] : token;
  if (typeof text === "string") return text;
  throw new EngineError(
    "artifact",
    `tokenizer_config.json names the special token ${JSON.stringify(token)}.`,
  );
}
