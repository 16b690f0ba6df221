// Shows the newest 200 messages, and how many came too quickly to be shown.
"use strict";
const tail = document.getElementById("tail");
const lost = document.getElementById("lost");
let missed = 0;
const events = new EventSource("/tail/events");
events.onmessage = (event) => {
  const entry = document.createElement("div");
  entry.textContent = event.data;
  tail.append(entry);
  while (tail.childElementCount > 200) {
    tail.firstElementChild.remove();
  }
  tail.scrollTop = tail.scrollHeight;
};
events.addEventListener("lost", (event) => {
  missed += Number(event.data);
  lost.textContent = missed + " came too quickly to be shown.";
});
events.onopen = () => tail.setAttribute("data-open", "yes");
