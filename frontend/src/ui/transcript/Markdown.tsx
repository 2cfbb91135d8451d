import { memo } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import classes from "./transcript.module.css";

const PLUGINS = [remarkGfm];

const COMPONENTS: Components = {
  // An image's address can carry data out of the conversation; its words are enough.
  img: ({ alt }) => <span>{alt ? `[image: ${alt}]` : "[image]"}</span>,
  a: ({ href, children }) => (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  ),
  table: ({ children }) => (
    <div className={classes.tableScroll} tabIndex={0} role="region" aria-label="Table">
      <table>{children}</table>
    </div>
  ),
  pre: ({ children }) => <pre tabIndex={0}>{children}</pre>,
  h1: ({ children }) => <p className={classes.heading}>{children}</p>,
  h2: ({ children }) => <p className={classes.heading}>{children}</p>,
  h3: ({ children }) => <p className={classes.heading}>{children}</p>,
  h4: ({ children }) => <p className={classes.heading}>{children}</p>,
  h5: ({ children }) => <p className={classes.heading}>{children}</p>,
  h6: ({ children }) => <p className={classes.heading}>{children}</p>,
};

/** The model's words. HTML in them is text, images are words, links leave nothing behind. */
export const Markdown = memo(function Markdown({ text }: { text: string }) {
  return (
    <div className={classes.markdown}>
      <ReactMarkdown remarkPlugins={PLUGINS} components={COMPONENTS}>
        {text}
      </ReactMarkdown>
    </div>
  );
});
