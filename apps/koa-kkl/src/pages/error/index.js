import '../../common/base.less';
import './error.less';
