/** The clean-up that transformers does after a decoder of words. */

// In transformers' order.
const CLEANED = [" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"];

/** The text without blanks before punctuation and around apostrophes. */
export function cleaned(text: string): string {
  return CLEANED.reduce((so_far, blank) => so_far.replaceAll(blank, blank.trim()), text);
}
