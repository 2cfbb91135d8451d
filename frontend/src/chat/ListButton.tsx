import { ActionIcon } from "@mantine/core";
import { Icon } from "../ui/icons";
import { useChat } from "./ChatLayout";
import classes from "./chat.module.css";

/** Opens the list of conversations where there is no room beside the chat. */
export function ListButton() {
  const { openList } = useChat();
  return (
    <ActionIcon
      className={classes.listButton}
      variant="subtle"
      color="gray"
      size={36}
      aria-label="Your conversations"
      onClick={openList}
    >
      <Icon name="list" />
    </ActionIcon>
  );
}
