import { Button, CloseButton, Drawer } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { Link, Outlet } from "@tanstack/react-router";
import {
  createContext,
  useContext,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
} from "react";
import { useSession } from "../api/client";
import { chatUrl } from "../api/socket";
import { Icon } from "../ui/icons";
import { VisuallyHidden } from "../ui/VisuallyHidden";
import { ConnectedAccounts } from "./ConnectedAccounts";
import { type Chat, type ChatState, createChat } from "./chat";
import classes from "./chat.module.css";
import { ThreadList } from "./ThreadList";

interface ChatRoom {
  chat: Chat;
  openList: () => void;
}
const ChatContext = createContext<ChatRoom | null>(null);

export function useChat(): ChatRoom & { state: ChatState } {
  const room = useContext(ChatContext);
  if (room === null) throw new Error("no chat above this component");
  const state = useSyncExternalStore(room.chat.subscribe, room.chat.state);
  return { ...room, state };
}

/** The customer's conversations beside the one that is open; one socket for all of them. */
export function ChatLayout() {
  const { token, expire, openSocket } = useSession();
  const [chat] = useState(() =>
    createChat({ url: chatUrl(window.location), token, openSocket, onSignedOut: expire }),
  );
  useEffect(() => {
    chat.open();
    const retry = () => {
      if (chat.state().connection.state === "waiting") chat.retryNow();
    };
    window.addEventListener("online", retry);
    return () => {
      window.removeEventListener("online", retry);
      chat.close();
    };
  }, [chat]);
  const [listOpen, list] = useDisclosure(false);
  const room = useMemo(() => ({ chat, openList: list.open }), [chat, list.open]);
  const conversations = (
    <>
      <Button
        renderRoot={(props) => <Link to="/" {...props} />}
        leftSection={<Icon name="plus" />}
        variant="light"
        fullWidth
        onClick={list.close}
      >
        New conversation
      </Button>
      <ThreadList onChoose={list.close} />
      <ConnectedAccounts />
    </>
  );
  return (
    <ChatContext.Provider value={room}>
      <div className={classes.layout}>
        <nav className={classes.sidebar} aria-label="Your conversations">
          {conversations}
        </nav>
        <Drawer.Root opened={listOpen} onClose={list.close} size="86%">
          <Drawer.Overlay />
          <Drawer.Content aria-label="Your conversations">
            <Drawer.Body className={classes.drawer}>
              <CloseButton aria-label="Close the list" onClick={list.close} />
              <nav aria-label="Your conversations" className={classes.drawer}>
                {conversations}
              </nav>
            </Drawer.Body>
          </Drawer.Content>
        </Drawer.Root>
        <Outlet />
      </div>
      <News />
    </ChatContext.Provider>
  );
}

/** The one live region of the page. */
function News() {
  const { state } = useChat();
  return (
    <VisuallyHidden role="status" aria-live="polite">
      {state.announcement}
    </VisuallyHidden>
  );
}
