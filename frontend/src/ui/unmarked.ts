/** Markdown on one line and without its marks, for a voice or a narrow row. */
export function unmarked(markdown: string): string {
  return markdown
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/^\s*\|?[\s:|-]+\|?\s*$/gm, "")
    .replace(/^\s*(#{1,6}|>|[-*+])\s+/gm, "")
    .replace(/[*`|]|__/g, " ")
    .replace(/\s+/g, " ")
    .trim();
}
