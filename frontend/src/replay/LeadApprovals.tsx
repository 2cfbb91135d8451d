import { Button, Group, TextInput } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { type Approval, problemOf, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { dayAndTime } from "../ui/time";
import classes from "./replay.module.css";

const LOOK_AGAIN = 5_000;
const LONGEST_REASON = 1_000;

interface LeadApprovalsProps {
  /** Only those of this conversation; otherwise all, with a way to each. */
  threadId?: string;
  onDecided?: () => Promise<unknown>;
}

/** Writes that wait for the yes of a support lead, because a rule of the operator says so. */
export function LeadApprovals({ threadId, onDecided }: LeadApprovalsProps) {
  const { api } = useSession();
  const waiting = api.query.useQuery(
    "get",
    "/api/approvals",
    { params: { query: { state: "pending", audience: "lead", limit: 200 } } },
    { refetchInterval: LOOK_AGAIN },
  );
  const found = (waiting.data?.approvals ?? []).filter(
    (approval) => threadId === undefined || approval.thread_id === threadId,
  );
  if (waiting.isError) return <ProblemBanner problem={problemOf(waiting.error)} />;
  if (found.length === 0) return null;
  const refresh = async () => {
    await waiting.refetch();
    await onDecided?.();
  };
  return (
    <section className={classes.approvals} aria-label="Waiting for your yes">
      <h2>
        <Icon name="question" size={18} /> Waiting for the yes of a lead ({found.length})
      </h2>
      <ul>
        {found.map((approval) => (
          <Waiting
            key={approval.id}
            approval={approval}
            link={threadId === undefined}
            refresh={refresh}
          />
        ))}
      </ul>
    </section>
  );
}

interface WaitingProps {
  approval: Approval;
  link: boolean;
  refresh: () => Promise<unknown>;
}

function Waiting({ approval, link, refresh }: WaitingProps) {
  const { api } = useSession();
  const [reason, setReason] = useState("");
  // A refusal, too, means that something has changed.
  const deciding = api.query.useMutation("post", "/api/approvals/{approval_id}/decision", {
    onSettled: () => refresh(),
  });
  const decide = (decision: "approve" | "reject") =>
    deciding.mutate({
      params: { path: { approval_id: approval.id } },
      body: { decision, reason: reason.trim() || null, standing: false },
    });
  const tooLong = [...reason].length > LONGEST_REASON;
  return (
    <li>
      <p className={classes.approvalTitle}>{approval.title}</p>
      <p className={classes.approvalRule}>
        {approval.why} · valid until {dayAndTime(approval.expires_at)}
        {link && (
          <>
            {" · "}
            <Link to="/replay/$threadId" params={{ threadId: approval.thread_id }}>
              Read the conversation
            </Link>
          </>
        )}
      </p>
      <table className={classes.approvalFields}>
        <caption>
          {approval.method} {approval.url}
        </caption>
        <tbody>
          {approval.fields.map(({ name, value }, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: the list never changes, names can repeat
            <tr key={index}>
              <th scope="row">{name}</th>
              <td>{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <Group gap={8} align="end">
        <TextInput
          className={classes.approvalReason}
          label="Reason, if you like"
          value={reason}
          onChange={(event) => setReason(event.currentTarget.value)}
          error={tooLong && `Up to ${LONGEST_REASON.toLocaleString("en-GB")} characters`}
        />
        <Button
          size="sm"
          loading={deciding.isPending}
          disabled={tooLong}
          onClick={() => decide("approve")}
        >
          Approve
        </Button>
        <Button
          size="sm"
          variant="default"
          disabled={tooLong || deciding.isPending}
          onClick={() => decide("reject")}
        >
          Don’t
        </Button>
      </Group>
      {deciding.isError && <ProblemBanner problem={problemOf(deciding.error)} />}
    </li>
  );
}
