import { Center, Title } from "@mantine/core";
import classes from "./frame.module.css";
import { usePageTitle } from "./usePageTitle";

export type WhySignedOut = "never" | "expired" | "left";

const WORDS: Record<WhySignedOut, { title: string; text: string }> = {
  never: {
    title: "Sign in",
    text: "Open a sign-in link to continue. Whoever runs this service can give you one.",
  },
  expired: {
    title: "Your sign-in has expired",
    text: "Open a fresh sign-in link to continue. Your conversations are kept.",
  },
  left: {
    title: "You are signed out",
    text: "Open a sign-in link to come back. Your conversations are kept.",
  },
};

export function SignInPage({ why }: { why: WhySignedOut }) {
  usePageTitle(WORDS[why].title);
  return (
    <Center component="main" className={classes.whole}>
      <div className={classes.card}>
        <img src="/favicon.svg" alt="Smart Support" width={44} height={44} />
        <Title order={1}>{WORDS[why].title}</Title>
        <p>{WORDS[why].text}</p>
        <p>
          Links are printed when the service starts, one for each role. Each tab of the browser can
          be signed in as somebody else.
        </p>
      </div>
    </Center>
  );
}
