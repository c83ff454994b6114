/**
 * The browser's Jinja, which refuses by name what it would write otherwise than Python's: a boolean
 * is "true" there and "True" here. Knows Jinja's syntax tree; does not know chats.
 */

import { Interpreter, Template } from "@huggingface/jinja";

type Node = { type: string; [field: string]: unknown };

/** What Python's Jinja does and the browser's library leaves out without an error. */
const LACKING: readonly [RegExp, string][] = [
  [/\|\s*tojson\s*\(\s*(?!(?:indent|ensure_ascii|separators|sort_keys)\s*=|\))/, "tojson(2)"],
  [/\{%-?\s*autoescape\b/, "autoescape"],
  [/\{%-?\s*(?:block|include|import|from|extends)\b/, "block, include, import or extends"],
  [/\|\s*title\b|\.title\(/, "title"],
  [/\|\s*int\s*\([^)]*,/, "int with a base"],
  [/\d\.0+\s*\|\s*tojson/, "JSON of a float without a fraction"],
  [/\bcase_sensitive\b/, "case_sensitive"],
  [/\bnamespace\s*\(\s*_|\bset\s+\w+\._/, "a name that begins with an underscore"],
];
const SAME = ["StringValue", "IntegerValue", "UndefinedValue"]; // as text in both languages
const SILENT = ["Set", "Macro", "Comment", "Break", "Continue"]; // statements that write nothing
const BLOCKS = ["body", "alternate", "defaultBlock"];

// The library offers no way to see what is written, so its evaluation is watched: only at the
// expressions in this set, which are those of the templates below.
const written = new WeakSet<object>();
const evaluate = Interpreter.prototype.evaluate;
Interpreter.prototype.evaluate = function (statement, environment) {
  const value = evaluate.call(this, statement, environment);
  if (statement && written.has(statement) && !SAME.includes(value.type)) {
    const kind = value.type.replace("Value", "");
    throw new Error(`it writes a value of the type ${kind}, which Python writes otherwise`);
  }
  return value;
};

/** Compile a template whose text is Python's, or that raises an error. */
export function compile(source: string): Template {
  for (const [pattern, feature] of LACKING) {
    if (pattern.test(source)) throw new Error(`the browser's Jinja has no ${feature}`);
  }
  const template = new Template(source.replace(/\r\n?/g, "\n"));
  visit(template.parsed as unknown as Node);
  return template;
}

/** Note the expressions whose values are written, and refuse a break that would lose text. */
function visit(node: Node): void {
  for (const [field, child] of Object.entries(node)) {
    for (const item of Array.isArray(child) ? child : [child]) {
      if (!isNode(item)) continue;
      if (BLOCKS.includes(field) && !SILENT.includes(item.type)) written.add(item);
      visit(item);
    }
  }
  const operator = node["operator"] as { value?: string } | undefined;
  if (node.type === "BinaryExpression" && operator?.value === "~") {
    written.add(node["left"] as Node).add(node["right"] as Node);
  }
  if (node.type === "For" && losesText(node["body"] as Node[])) {
    throw new Error("the browser's Jinja loses the text before a break or continue");
  }
}

/** Whether a break or continue comes after something that writes, in the same turn of the loop. */
function losesText(block: readonly Node[]): boolean {
  let writes = false;
  for (const node of block) {
    const [inside, otherwise] = [node["body"], node["alternate"]] as (Node[] | undefined)[];
    const jumps = node.type !== "For" && hasJump(node);
    if (jumps && (writes || losesText(inside ?? []) || losesText(otherwise ?? []))) return true;
    writes ||= !SILENT.includes(node.type) && !(node.type === "If" && onlyJumps(node));
  }
  return false;
}

function hasJump(node: Node): boolean {
  if (node.type === "Break" || node.type === "Continue") return true;
  if (node.type === "For") return false;
  return Object.values(node)
    .flat()
    .some((item) => isNode(item) && hasJump(item));
}

function onlyJumps(node: Node): boolean {
  const inside = [...(node["body"] as Node[]), ...(node["alternate"] as Node[])];
  return inside.every((item) => SILENT.includes(item.type));
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value;
}
