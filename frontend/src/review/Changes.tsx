import type { OperationDetail } from "../api/client";
import classes from "./review.module.css";

/** What later documents changed of an operation since somebody decided about it. */
export function Changes({ changes }: { changes: OperationDetail["changes"] }) {
  if (changes.length === 0) return null;
  return (
    <section aria-label="What changed">
      <h3 className={classes.subtitle}>Changed since the decision</h3>
      <div className={classes.scroller} role="region" aria-label="Changes" tabIndex={0}>
        <table className={classes.changes}>
          <thead>
            <tr>
              <th scope="col">What</th>
              <th scope="col">Decided on</th>
              <th scope="col">Now</th>
            </tr>
          </thead>
          <tbody>
            {changes.map(({ field, kind, before, after, breaking }) => (
              <tr key={`${field} ${kind}`} data-breaking={breaking}>
                <th scope="row">
                  {field}
                  {breaking && <strong className={classes.by}> breaks</strong>}
                </th>
                <td>{before ?? <em>not there</em>}</td>
                <td>{after ?? <em>gone</em>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
