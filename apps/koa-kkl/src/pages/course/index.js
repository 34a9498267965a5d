import '../../common/base.less';
import { callApi } from '../../common/http';
import './course.less';

const outline = document.querySelector('.outline');

// Most visitors never open the outline, so its code comes only with the click.
document.querySelector('.outline__open').addEventListener('click', async () => {
  const [{ showOutline }, { course }] = await Promise.all([
    import(/* webpackChunkName: "outline" */ './outline'),
    callApi('GET', `/courses/${outline.dataset.courseId}`),
  ]);
  showOutline(outline, course.lessons);
});
