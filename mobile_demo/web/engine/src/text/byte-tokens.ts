/** Tokens for single bytes, such as <0xE2>, where the library for browsers shows them otherwise. */

/**
 * The tokens with each run of bytes that is not UTF-8 as one U+FFFD for each byte, as the tokenizers
 * package shows it. A run that begins with a byte-order mark keeps it.
 */
export function shownBytes(
  tokens: readonly string[],
  isByte: (place: number) => boolean,
): string[] {
  const shown: string[] = [];
  for (let start = 0; start < tokens.length; ) {
    let end = start;
    while (end < tokens.length && isByte(end)) end++;
    if (end === start) {
      shown.push(tokens[start++] ?? "");
      continue;
    }
    const run = tokens.slice(start, end);
    const bytes = Uint8Array.from(run, (token) => Number.parseInt(token.slice(3, 5), 16));
    const text = decoded(bytes);
    if (text === null) shown.push(...run.map(() => "\ufffd"));
    else if (text.startsWith("\ufeff")) shown.push(text);
    else shown.push(...run);
    start = end;
  }
  return shown;
}

function decoded(bytes: Uint8Array<ArrayBuffer>): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}
