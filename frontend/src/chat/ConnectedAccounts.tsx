import { Button } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { problemOf, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { dayAndTime } from "../ui/time";
import classes from "./chat.module.css";

const PATH = "/api/connections";

/** The services at which we act for the customer; each permission can be taken back here. */
export function ConnectedAccounts() {
  const { api } = useSession();
  const queries = useQueryClient();
  const connections = api.query.useQuery("get", PATH, {});
  const leaving = api.query.useMutation("delete", "/api/connect/{spec_id}/{scheme}", {
    onSettled: () => queries.invalidateQueries({ queryKey: ["get", PATH] }),
  });
  const found = connections.data?.connections ?? [];
  if (connections.isError)
    return (
      <ProblemBanner
        problem={problemOf(connections.error)}
        retry={() => void connections.refetch()}
      />
    );
  if (found.length === 0 && !leaving.isError) return null;
  return (
    <section className={classes.accounts} aria-label="Connected accounts">
      <h2>Connected accounts</h2>
      <ul>
        {found.map(({ spec_id, scheme, service, connected_at }) => (
          <li key={`${spec_id} ${scheme}`}>
            <Icon name="lock" size={15} />
            <span>
              {service} <span className={classes.since}>since {dayAndTime(connected_at)}</span>
            </span>
            <Button
              size="compact-sm"
              variant="default"
              loading={leaving.isPending}
              aria-label={`Disconnect ${service}`}
              onClick={() => leaving.mutate({ params: { path: { spec_id, scheme } } })}
            >
              Disconnect
            </Button>
          </li>
        ))}
      </ul>
      {leaving.isError && <ProblemBanner problem={problemOf(leaving.error)} />}
    </section>
  );
}
