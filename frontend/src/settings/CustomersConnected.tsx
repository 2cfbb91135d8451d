import { useSession } from "../api/client";
import { plural } from "../ui/time";
import classes from "./settings.module.css";

/** How many customers let us act for them, API by API; nothing where nobody does. */
export function CustomersConnected() {
  const { api } = useSession();
  const counts = api.query.useQuery("get", "/api/connections/counts", {});
  const services = counts.data?.services ?? [];
  if (services.length === 0) return null;
  return (
    <section aria-label="Connected customers">
      <h2 className={classes.heading}>Connected customers</h2>
      <p className={classes.note}>
        They let the agent act for them there, and can take that back in their conversations.
      </p>
      <ul className={classes.list}>
        {services.map(({ spec_id, scheme, service, customers }) => (
          <li key={`${spec_id} ${scheme}`} className={classes.row}>
            <span className={classes.state}>{plural(customers, "customer")}</span>
            <span className={classes.what}>
              <strong>{service}</strong>
              <code>{scheme}</code>
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
