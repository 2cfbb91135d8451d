import { Link } from "@tanstack/react-router";
import { FIGURES } from "../ui/figures";
import classes from "./dashboard.module.css";
import { type Linked, shown } from "./figures";

interface DrillLinkProps {
  linked: Linked;
  start: string;
  end: string;
  /** Said after the number to those who hear the link alone. */
  of?: string;
}

/** A number that opens the conversations it counts; `data-counts` is the total of that list. */
export function DrillLink({ linked, start, end, of }: DrillLinkProps) {
  const text = shown(linked.value, linked.unit);
  const name = [FIGURES[linked.figure].title, linked.dimension, of].filter(Boolean).join(", ");
  return (
    <Link
      to="/replay"
      search={{ figure: linked.figure, dimension: linked.dimension, start, end }}
      className={classes.drill}
      data-counts={linked.counts}
      aria-label={`${text}, ${name}`}
    >
      {text}
    </Link>
  );
}
