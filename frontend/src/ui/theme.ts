/** The look: one calm colour, system fonts, and contrast that passes 4.5:1 in both schemes. */

import { createTheme, type MantineColorsTuple } from "@mantine/core";

const lagoon: MantineColorsTuple = [
  "#e9f7f7",
  "#d3eeee",
  "#a6dcdd",
  "#76c9cc",
  "#4cb6ba",
  "#2a9fa5",
  "#168690",
  "#0b6e75",
  "#0a5a60",
  "#08464b",
];

export const theme = createTheme({
  primaryColor: "lagoon",
  primaryShade: { light: 7, dark: 7 },
  colors: { lagoon },
  defaultRadius: "md",
  fontFamily:
    'Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif',
  fontFamilyMonospace:
    'ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  headings: {
    fontWeight: "650",
    sizes: { h1: { fontSize: "1.5rem" }, h2: { fontSize: "1.1rem" } },
  },
  respectReducedMotion: true,
  cursorType: "pointer",
  // What opens stays in the landmark or dialog that it belongs to: outside of one it is not part of
  // the page for a screen reader. Of a menu the first item has the focus, not something unnamed.
  components: {
    Menu: { defaultProps: { withinPortal: false, withInitialFocusPlaceholder: false } },
    Select: { defaultProps: { comboboxProps: { withinPortal: false } } },
  },
});
