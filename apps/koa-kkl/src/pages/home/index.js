import dayjs from 'dayjs';
import relativeTime from 'dayjs/plugin/relativeTime';

import '../../common/base.less';
import { callApi } from '../../common/http';
import './home.less';

dayjs.extend(relativeTime);

function showStart(element) {
  element.textContent = dayjs(element.dateTime).fromNow();
  element.title = element.dateTime;
}

async function toggleFavourite(button) {
  const { courseId } = button.dataset;
  const chosen = button.getAttribute('aria-pressed') === 'true';
  button.disabled = true;
  try {
    const { favourites } = chosen
      ? await callApi('DELETE', `/favourites/${courseId}`)
      : await callApi('POST', '/favourites', { courseId });
    button.setAttribute('aria-pressed', String(favourites.includes(courseId)));
  } catch (error) {
    button.title = error.message;
  } finally {
    button.disabled = false;
  }
}

document.querySelectorAll('time').forEach(showStart);
document.querySelectorAll('.course__star').forEach((button) => {
  button.addEventListener('click', () => toggleFavourite(button));
});
